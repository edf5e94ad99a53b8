// Quarantine: where freed chunks wait (design invariant 4).
//
// A chunk that the front gave up is `pending` until a commit that began after it was given up is durable, then `freed`
// until no request can still be reading it and it reads as zeros; only then may it be allocated again. Thread-safe.
#ifndef FVD_IMAGE_QUARANTINE_H_
#define FVD_IMAGE_QUARANTINE_H_

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace fvd {

class Quarantine {
 public:
  // Call after the change of mapping was marked in the ChangeSet.
  void add(std::uint32_t chunk) {
    const std::lock_guard lock(mutex_);
    pending_.push_back(chunk);
  }
  // Begins a commit: take this before the ChangeSet, so that every chunk in it has its change in the commit.
  std::vector<std::uint32_t> take_pending() {
    const std::lock_guard lock(mutex_);
    return std::exchange(pending_, {});
  }
  void put_back(const std::vector<std::uint32_t>& chunks) {
    const std::lock_guard lock(mutex_);
    pending_.insert(pending_.end(), chunks.begin(), chunks.end());
  }
  // The commit that freed them is durable.
  void freed(const std::vector<std::uint32_t>& chunks) {
    const std::lock_guard lock(mutex_);
    freed_.insert(freed_.end(), chunks.begin(), chunks.end());
  }
  std::vector<std::uint32_t> take_freed() {
    const std::lock_guard lock(mutex_);
    return std::exchange(freed_, {});
  }
  [[nodiscard]] bool empty() const {
    const std::lock_guard lock(mutex_);
    return pending_.empty() && freed_.empty();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::uint32_t> pending_;
  std::vector<std::uint32_t> freed_;
};

}  // namespace fvd

#endif  // FVD_IMAGE_QUARANTINE_H_
