#include "fuse/page_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse/apart.h"
#include "fuse/inodes.h"
#include "fuse/lowlevel.h"

namespace fvdfs {

void PageCache::attach(fuse_session* session, const std::string& mount_point) {
  session_ = session;
  mount_point_ = mount_point;
  current_state_ = mount_point + "/current-state";
}

int PageCache::open_own(OwnOpen kind) {
  const std::lock_guard lock(own_open_);
  own_open_seen_ = OwnOpen::kNone;
  own_open_kind_ = kind;
  opener_ = ::gettid();
  const int fd = ::open(current_state_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  opener_ = 0;
  if (fd >= 0 && own_open_seen_ == OwnOpen::kNone) {
    ::close(fd);
    return -1;
  }
  return fd;
}

bool PageCache::with_own_open(OwnOpen kind, const std::function<void(int)>& job) {
  bool opened = false;
  run_apart([&] {
    const int fd = open_own(kind);
    if (fd < 0) return;
    opened = true;
    job(fd);
    ::close(fd);
  });
  return opened;
}

void PageCache::flush() {
  bool done = false;
  (void)with_own_open(OwnOpen::kKeep, [&done](int fd) {
    // Waits for what is under way, starts the rest, waits for that: on return every page that was dirty has been
    // written.
    constexpr unsigned kAll = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    done = ::sync_file_range(fd, 0, 0, kAll) == 0;
  });
  if (!done) drop();
}

void PageCache::drop() {
  // An open whose answer does not keep the cache makes the kernel do it, in the thread that opens.
  if (with_own_open(OwnOpen::kDrop, [](int) {})) return;
  (void)fuse_lowlevel_notify_inval_inode(session_, kCurrentInode, 0, 0);
}

void PageCache::set_size(std::uint64_t size) {
  // Nothing hangs on the outcome: when the path does not lead to this mount, nobody can reach it by path either.
  (void)with_own_open(OwnOpen::kKeep, [this, size](int fd) {
    struct stat st {};
    if (::fstat(fd, &st) == 0 && static_cast<std::uint64_t>(st.st_size) == size) return;
    const std::string path = "/proc/thread-self/fd/" + std::to_string(fd);
    sizing_ = ::gettid();
    (void)!::truncate(path.c_str(), static_cast<off_t>(size));
    sizing_ = 0;
  });
}

void PageCache::refresh_attributes() {
  run_apart([this] {
    struct stat st {};
    (void)::lstat(current_state_.c_str(), &st);
  });
}

bool PageCache::with_writers_held(mode_t mode, const std::function<void()>& job) {
  bool ran = false;
  (void)with_own_open(OwnOpen::kKeep, [&](int fd) {
    {
      const std::lock_guard lock(held_mutex_);
      holder_ = ::gettid();
      held_job_ = &job;
    }
    (void)::fchmod(fd, mode);
    const std::lock_guard lock(held_mutex_);
    holder_ = 0;
    ran = held_job_ == nullptr;
    held_job_ = nullptr;
  });
  return ran;
}

bool PageCache::run_held(pid_t thread) {
  const std::lock_guard lock(held_mutex_);
  if (thread == 0 || thread != holder_ || held_job_ == nullptr) return false;
  (*held_job_)();
  held_job_ = nullptr;
  return true;
}

PageCache::OwnOpen PageCache::note_open(pid_t thread) {
  if (thread == 0 || opener_ != thread) return OwnOpen::kNone;
  own_open_seen_ = own_open_kind_.load();
  return own_open_seen_;
}

}  // namespace fvdfs
