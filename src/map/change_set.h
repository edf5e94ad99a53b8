// ChangeSet: which virtual chunks' mappings changed, for the next commit, and while a table is captured and written.
//
// A change is marked after the mapping was published, whose data was written before; so whoever takes the set and then
// syncs has the data of every mapping it names on stable storage. Thread-safe.
#ifndef FVD_MAP_CHANGE_SET_H_
#define FVD_MAP_CHANGE_SET_H_

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "map/bits.h"

namespace fvd {

class ChangeSet {
 public:
  void mark(std::uint32_t virtual_chunk) {
    const std::lock_guard lock(mutex_);
    if (!dirty_.set(virtual_chunk)) dirty_list_.push_back(virtual_chunk);
    if (tracking_ && !since_.set(virtual_chunk)) since_list_.push_back(virtual_chunk);
  }
  [[nodiscard]] bool empty() const {
    const std::lock_guard lock(mutex_);
    return dirty_list_.empty();
  }
  // Changed since the last take().
  [[nodiscard]] bool contains(std::uint32_t virtual_chunk) const {
    const std::lock_guard lock(mutex_);
    return dirty_.test(virtual_chunk);
  }
  // What changed since the last take(); give it back with put_back() when the commit fails.
  std::vector<std::uint32_t> take() {
    const std::lock_guard lock(mutex_);
    for (const std::uint32_t v : dirty_list_) dirty_.clear(v);
    return std::exchange(dirty_list_, {});
  }

  // Not mark(): a cut since then may hold what was taken, and it did not change anew.
  void put_back(const std::vector<std::uint32_t>& virtual_chunks) {
    const std::lock_guard lock(mutex_);
    for (const std::uint32_t v : virtual_chunks) {
      if (!dirty_.set(v)) dirty_list_.push_back(v);
    }
  }

  // From here on changes are collected a second time, until end_capture().
  void begin_capture() {
    const std::lock_guard lock(mutex_);
    tracking_ = true;
  }
  // What changed since begin_capture(); collects anew what the table being written does not hold.
  std::vector<std::uint32_t> cut() {
    const std::lock_guard lock(mutex_);
    for (const std::uint32_t v : since_list_) since_.clear(v);
    return std::exchange(since_list_, {});
  }
  // What changed since cut(), still being collected.
  std::vector<std::uint32_t> since_cut() const {
    const std::lock_guard lock(mutex_);
    return since_list_;
  }
  void end_capture() {
    const std::lock_guard lock(mutex_);
    tracking_ = false;
    for (const std::uint32_t v : since_list_) since_.clear(v);
    since_list_ = {};
  }

 private:
  mutable std::mutex mutex_;
  Bits dirty_;
  Bits since_;
  std::vector<std::uint32_t> dirty_list_;
  std::vector<std::uint32_t> since_list_;
  bool tracking_ = false;
};

}  // namespace fvd

#endif  // FVD_MAP_CHANGE_SET_H_
