// LookupTable: the one-level table of a disk state in memory, one 32-bit entry a virtual chunk.
//
// Entries are read and written by any thread (each access is one atomic load or store); resize and swap need the
// freeze gate closed. Memory is taken from the kernel page by page as entries are first written.
#ifndef FVD_MAP_LOOKUP_TABLE_H_
#define FVD_MAP_LOOKUP_TABLE_H_

#include <atomic>
#include <cstdint>
#include <utility>

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
    std::swap(size_, other.size_);
    std::swap(mapped_, other.mapped_);
  }

  // New entries are EMPTY; those cut off are forgotten. kNoSpace when memory cannot be had.
  Status resize(std::uint32_t size);
  [[nodiscard]] std::uint32_t size() const { return size_; }
  // REQUIRES index < size().
  [[nodiscard]] std::uint32_t load(std::uint32_t index) const { return slot(index).load(std::memory_order_acquire); }
  void store(std::uint32_t index, std::uint32_t entry) { slot(index).store(entry, std::memory_order_release); }

 private:
  [[nodiscard]] std::atomic_ref<std::uint32_t> slot(std::uint32_t index) const {
    return std::atomic_ref<std::uint32_t>(entries_[index]);
  }

  std::uint32_t* entries_ = nullptr;
  std::uint32_t size_ = 0;
  std::size_t mapped_ = 0;  // bytes
};

}  // namespace fvd

#endif  // FVD_MAP_LOOKUP_TABLE_H_
