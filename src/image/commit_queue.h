// CommitQueue: group commit. Whoever asks while a commit runs waits for the next one, and one commit serves all who
// wait. Thread-safe.
#ifndef FVD_IMAGE_COMMIT_QUEUE_H_
#define FVD_IMAGE_COMMIT_QUEUE_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "fvd/status.h"

namespace fvd {

class CommitQueue {
 public:
  struct Outcome {
    Status status;
    bool journal_full = false;  // nothing was committed: a checkpoint is due
  };

  // Returns the outcome of a commit that began after the call: runs `commit` itself, or waits for another caller's.
  template <typename Commit>
  Outcome commit(Commit&& run) {
    std::unique_lock lock(mutex_);
    const std::uint64_t wanted = begun_ + 1;
    while (done_ < wanted) {
      if (!busy_) {
        busy_ = true;
        const std::uint64_t mine = ++begun_;
        lock.unlock();
        Outcome outcome = run();
        lock.lock();
        busy_ = false;
        done_ = mine;
        last_ = outcome;
        free_.notify_all();
        return outcome;
      }
      free_.wait(lock);
    }
    // The outcome of a later commit than `wanted` is as good: what failed once has turned the image read-only.
    return last_;
  }

  // Keeps commits out; for whoever switches the epoch. BasicLockable.
  void lock() {
    std::unique_lock lock(mutex_);
    free_.wait(lock, [&] { return !busy_; });
    busy_ = true;
  }
  void unlock() {
    const std::lock_guard lock(mutex_);
    busy_ = false;
    free_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable free_;
  bool busy_ = false;
  std::uint64_t begun_ = 0;
  std::uint64_t done_ = 0;
  Outcome last_;
};

}  // namespace fvd

#endif  // FVD_IMAGE_COMMIT_QUEUE_H_
