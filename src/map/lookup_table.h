// LookupTable: the one-level table of a disk state in memory, one 32-bit entry a virtual chunk.
//
// Entries are read and written by any thread (each access is one atomic load or store); resize and swap need the
// freeze gate closed. Memory is taken from the kernel page by page as entries are first written. Which groups of
// kEntriesPerGroup entries were ever written is remembered: a table object stores no others.
#ifndef FVD_MAP_LOOKUP_TABLE_H_
#define FVD_MAP_LOOKUP_TABLE_H_

#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "fvd/status.h"

namespace fvd {

class LookupTable {
 public:
  LookupTable() = default;
  ~LookupTable();
  LookupTable(const LookupTable&) = delete;
  LookupTable& operator=(const LookupTable&) = delete;
  void swap(LookupTable& other) noexcept {
    std::swap(entries_, other.entries_);
    size_.store(other.size_.exchange(size_.load()));
    std::swap(mapped_, other.mapped_);
    std::swap(written_, other.written_);
    groups_.store(other.groups_.exchange(groups_.load()));
  }

  // New entries are EMPTY; those cut off are forgotten. kNoSpace when memory cannot be had.
  Status resize(std::uint32_t size);
  [[nodiscard]] std::uint32_t size() const { return size_.load(std::memory_order_relaxed); }
  // REQUIRES index < size().
  [[nodiscard]] std::uint32_t load(std::uint32_t index) const { return slot(index).load(std::memory_order_acquire); }
  void store(std::uint32_t index, std::uint32_t entry) {
    if (entry != 0) note_written(index / kEntriesPerGroup);
    slot(index).store(entry, std::memory_order_release);
  }
  // At least as many groups hold an entry that is not EMPTY.
  [[nodiscard]] std::uint32_t written_groups() const { return groups_.load(std::memory_order_relaxed); }

  static constexpr std::uint32_t kEntriesPerGroup = 16;

 private:
  void note_written(std::uint32_t group) {
    const std::atomic_ref<std::uint8_t> bits(written_[group / 8]);
    const auto mask = static_cast<std::uint8_t>(1U << group % 8);
    if ((bits.load(std::memory_order_relaxed) & mask) != 0) return;
    if ((bits.fetch_or(mask, std::memory_order_relaxed) & mask) == 0) groups_.fetch_add(1, std::memory_order_relaxed);
  }
  [[nodiscard]] std::atomic_ref<std::uint32_t> slot(std::uint32_t index) const {
    return std::atomic_ref<std::uint32_t>(entries_[index]);
  }

  std::uint32_t* entries_ = nullptr;
  std::atomic<std::uint32_t> size_{0};  // also read outside the gate, where an older one will do
  std::size_t mapped_ = 0;              // bytes
  std::vector<std::uint8_t> written_;   // a bit a group
  std::atomic<std::uint32_t> groups_{0};
};

}  // namespace fvd

#endif  // FVD_MAP_LOOKUP_TABLE_H_
