// FreezeGate: requests pass it together, a cut closes it for a moment.
//
// Every request holds the gate shared from its first look at the mapping to its last byte of data. Closing it waits for
// those inside, keeps newcomers out, and so gives the closer an instant at which no request is under way. It is held
// closed for memory work only, never across I/O. It also serves as a grace period (see drain()).
#ifndef FVD_MAP_FREEZE_GATE_H_
#define FVD_MAP_FREEZE_GATE_H_

#include <atomic>
#include <cstdint>
#include <mutex>

namespace fvd {

class FreezeGate {
 public:
  // Shared side (std::shared_lock works on the gate). Not recursive: a thread inside must not enter again.
  void lock_shared() {
    for (;;) {
      if ((state_.fetch_add(1, std::memory_order_acquire) & kClosed) == 0) return;
      unlock_shared();
      for (std::uint32_t s = state_.load(std::memory_order_relaxed); (s & kClosed) != 0;
           s = state_.load(std::memory_order_relaxed)) {
        state_.wait(s, std::memory_order_relaxed);
      }
    }
  }
  void unlock_shared() {
    if (state_.fetch_sub(1, std::memory_order_acq_rel) == kClosed + 1) state_.notify_all();
  }

  // Exclusive side (std::unique_lock works on the gate).
  void lock() {
    closers_.lock();
    state_.fetch_or(kClosed, std::memory_order_acquire);
    for (std::uint32_t s = state_.load(std::memory_order_acquire); s != kClosed;
         s = state_.load(std::memory_order_acquire)) {
      state_.wait(s, std::memory_order_acquire);
    }
  }
  void unlock() {
    state_.fetch_and(~kClosed, std::memory_order_release);
    state_.notify_all();
    closers_.unlock();
  }

  // Returns when every request that was inside at the call has left: what they had looked up is no longer in use.
  void drain() {
    lock();
    unlock();
  }

 private:
  static constexpr std::uint32_t kClosed = 1U << 31;
  std::atomic<std::uint32_t> state_{0};  // kClosed | number of requests inside
  std::mutex closers_;
};

}  // namespace fvd

#endif  // FVD_MAP_FREEZE_GATE_H_
