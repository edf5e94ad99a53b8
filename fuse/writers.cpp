#include "fuse/writers.h"

namespace fvdfs {

bool Writers::enter() {
  const std::lock_guard lock(mutex_);
  if (exclusive_) return false;
  ++count_;
  ++entered_;
  dirty_ = true;
  return true;
}

void Writers::leave() {
  const std::lock_guard lock(mutex_);
  --count_;
  left_.notify_all();
}

bool Writers::begin_exclusive(std::uint32_t allowed) {
  std::unique_lock lock(mutex_);
  if (exclusive_) return false;
  if (!left_.wait_for(lock, kPatience, [&] { return count_ <= allowed; })) return false;
  if (exclusive_) return false;
  exclusive_ = true;
  return true;
}

void Writers::end_exclusive() {
  const std::lock_guard lock(mutex_);
  exclusive_ = false;
}

bool Writers::may_be_dirty() const {
  const std::lock_guard lock(mutex_);
  return dirty_;
}

std::uint64_t Writers::flush_ticket() const {
  const std::lock_guard lock(mutex_);
  return count_ == 0 ? entered_ : 0;
}

void Writers::flushed(std::uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  if (ticket != 0 && ticket == entered_) dirty_ = false;
}

}  // namespace fvdfs
