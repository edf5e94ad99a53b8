// Writers: who has current-state open for writing.
//
// Going to a snapshot and shrinking need that nobody has, and that nobody comes while they run. A newcomer is refused
// rather than made to wait: waiting requests could use up the worker threads that the operation itself needs.
// Thread-safe.
#ifndef FVDFS_WRITERS_H_
#define FVDFS_WRITERS_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace fvdfs {

// How long an operation waits for the end of a handle that the caller has closed before it answers EBUSY: on a busy
// host the thread that was told may not have had its turn.
inline constexpr std::chrono::milliseconds kPatience{60};

class Writers {
 public:
  // A handle for writing is about to be opened; false (answer EBUSY) while an exclusive operation runs.
  [[nodiscard]] bool enter();
  void leave();

  // True when at most `allowed` handles are open for writing: from then on enter() refuses, until end_exclusive().
  // The kernel reports a close asynchronously, so a handle that the caller just closed gets kPatience to go.
  [[nodiscard]] bool begin_exclusive(std::uint32_t allowed);
  void end_exclusive();

  // May the kernel hold dirty pages of current-state? True from the first enter() until the pages were flushed with no
  // handle open: a mapping keeps its handle open, so without handles nothing can become dirty.
  [[nodiscard]] bool may_be_dirty() const;
  // To be called around a flush of the kernel's pages: take the ticket before, give it back when the flush succeeded.
  [[nodiscard]] std::uint64_t flush_ticket() const;
  void flushed(std::uint64_t ticket);

 private:
  mutable std::mutex mutex_;
  std::condition_variable left_;
  std::uint32_t count_ = 0;
  std::uint64_t entered_ = 0;  // how often enter() succeeded
  bool exclusive_ = false;
  bool dirty_ = false;
};

// end_exclusive() at the end of a scope.
class ExclusiveScope {
 public:
  explicit ExclusiveScope(Writers& writers) : writers_(writers) {}
  ~ExclusiveScope() { writers_.end_exclusive(); }
  ExclusiveScope(const ExclusiveScope&) = delete;
  ExclusiveScope& operator=(const ExclusiveScope&) = delete;

 private:
  Writers& writers_;
};

}  // namespace fvdfs

#endif  // FVDFS_WRITERS_H_
