#include "fuse/page_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse/inodes.h"
#include "fuse/lowlevel.h"

namespace fvdfs {

void PageCache::attach(fuse_session* session, const std::string& mount_point) {
  session_ = session;
  current_state_ = mount_point + "/current-state";
}

int PageCache::open_own() {
  const std::lock_guard lock(own_open_);
  own_open_seen_ = false;
  opener_ = ::gettid();
  const int fd = ::open(current_state_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  opener_ = 0;
  if (fd >= 0 && !own_open_seen_) {
    ::close(fd);
    return -1;
  }
  return fd;
}

void PageCache::flush() {
  const int fd = open_own();
  bool done = false;
  if (fd >= 0) {
    // Waits for what is under way, starts the rest, waits for that: on return every page that was dirty has been
    // written.
    constexpr unsigned kAll = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    done = ::sync_file_range(fd, 0, 0, kAll) == 0;
    ::close(fd);
  }
  if (!done) drop();
}

void PageCache::drop() { (void)fuse_lowlevel_notify_inval_inode(session_, kCurrentInode, 0, 0); }

void PageCache::set_size(std::uint64_t size) {
  // Nothing hangs on the outcome: when the path does not lead to this mount, nobody can reach it by path either.
  const int fd = open_own();
  if (fd < 0) return;
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  sizing_ = ::gettid();
  (void)!::truncate(path.c_str(), static_cast<off_t>(size));
  sizing_ = 0;
  ::close(fd);
}

bool PageCache::with_writers_held(mode_t mode, const std::function<void()>& job) {
  const int fd = open_own();
  if (fd < 0) return false;
  {
    const std::lock_guard lock(held_mutex_);
    holder_ = ::gettid();
    held_job_ = &job;
  }
  (void)::fchmod(fd, mode);
  ::close(fd);
  const std::lock_guard lock(held_mutex_);
  holder_ = 0;
  const bool ran = held_job_ == nullptr;
  held_job_ = nullptr;
  return ran;
}

bool PageCache::run_held(pid_t thread) {
  const std::lock_guard lock(held_mutex_);
  if (thread == 0 || thread != holder_ || held_job_ == nullptr) return false;
  (*held_job_)();
  held_job_ = nullptr;
  return true;
}

void PageCache::forget_name(std::uint64_t directory, const std::string& name) {
  (void)fuse_lowlevel_notify_inval_entry(session_, directory, name.c_str(), name.size());
}

bool PageCache::note_open(pid_t thread) {
  if (thread == 0 || opener_ != thread) return false;
  own_open_seen_ = true;
  return true;
}

}  // namespace fvdfs
