// PageCache: the kernel's cache of this mount, as seen and steered from inside the daemon.
//
// Everything here makes the kernel send requests to this very daemon and waits for them, so it must run on a Lane and
// never on a worker, and never with a lock held that serving a request needs. Before serving() is called and after the
// session ended, every call returns at once without effect. What may wait in the kernel runs apart (apart.h), so that
// it cannot keep a killed daemon alive.
#ifndef FVDFS_PAGE_CACHE_H_
#define FVDFS_PAGE_CACHE_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

struct fuse_session;

namespace fvdfs {

class PageCache {
 public:
  // An open of current-state by the daemon itself: none of its own, one that keeps the cache, one that drops it.
  enum class OwnOpen : std::uint8_t { kNone, kKeep, kDrop };

  // `mount_point` is absolute. REQUIRES: before the first request.
  void attach(fuse_session* session, const std::string& mount_point);

  // Writes the kernel's dirty pages of current-state to the daemon and keeps the clean ones. Opens the file through the
  // mount; where that does not lead here (lazily unmounted, mounted over, another namespace), drops the pages instead,
  // which writes the dirty ones first.
  void flush();
  // Writes dirty pages of current-state and drops all of them.
  void drop();
  // Makes the kernel take over `size` as the size of current-state, which its writeback cache would otherwise keep to
  // itself. The daemon recognises its own request, see is_sizing().
  void set_size(std::uint64_t size);
  // Makes the kernel ask for the attributes of current-state, where its writeback cache does not own them.
  void refresh_attributes();
  // Runs `job` while no write(2) to current-state is under way and nothing that one wrote is held back by the kernel's
  // writeback cache. Does so through a change of mode to `mode` (the one it has): the kernel writes dirty pages first
  // and keeps the inode locked until the request is answered, in whose handler the job runs (run_held()). False,
  // without having run it, where the path does not lead here or the daemon's user may not change the mode.
  [[nodiscard]] bool with_writers_held(mode_t mode, const std::function<void()>& job);
  // To be called by the setattr handler for a change of mode by `thread`: runs the job if it is that of
  // with_writers_held(), else returns false.
  bool run_held(pid_t thread);

  // To be called by the open handler for an open of current-state by `thread` (0 = none): whether it is the daemon's
  // own, and what it is for.
  OwnOpen note_open(pid_t thread);
  // True if `thread` is one that is in set_size() now.
  [[nodiscard]] bool is_sizing(pid_t thread) const { return thread != 0 && sizing_.load() == thread; }

 private:
  // Opens current-state through the mount; -1 when that does not lead to this daemon.
  int open_own(OwnOpen kind);
  // Runs `job` with such a descriptor, apart; false, without having run it, when there is none.
  bool with_own_open(OwnOpen kind, const std::function<void(int)>& job);

  fuse_session* session_ = nullptr;
  std::string mount_point_;
  std::string current_state_;                           // its path
  std::mutex own_open_;                                 // one open_own() at a time; no handler of a request takes it
  std::atomic<pid_t> opener_{0};                        // thread in open_own(), 0 = none
  std::atomic<OwnOpen> own_open_kind_{OwnOpen::kNone};  // what the open is for
  std::atomic<OwnOpen> own_open_seen_{OwnOpen::kNone};  // what the handler made of it
  std::atomic<pid_t> sizing_{0};
  std::mutex held_mutex_;
  pid_t holder_ = 0;                                 // thread in with_writers_held(); under held_mutex_
  const std::function<void()>* held_job_ = nullptr;  // ditto; nullptr once it has run
};

}  // namespace fvdfs

#endif  // FVDFS_PAGE_CACHE_H_
