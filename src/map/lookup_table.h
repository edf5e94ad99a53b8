// LookupTable: the one-level table of a disk state in memory, one 32-bit entry a virtual chunk.
//
// Entries are read and written by any thread (each access is one atomic load or store); resize and swap need the
// freeze gate closed. Memory is taken from the kernel page by page as entries are first written. Which groups of
// kEntriesPerGroup entries were ever written is remembered: a table object stores no others.
//
// share_all() marks every entry shared at the cost of a bit for each: the bit makes load() add kSharedFlag until the
// entry is stored again. A store first moves the flag from the bit into the old entry, and a load that sees the bit
// looks at it again behind the entry; so a load beside a store sees the old entry as shared, or the new one as it is.
#ifndef FVD_MAP_LOOKUP_TABLE_H_
#define FVD_MAP_LOOKUP_TABLE_H_

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "format/layout.h"
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
    std::swap(shared_, other.shared_);
  }

  // New entries are EMPTY; those cut off are forgotten. kNoSpace when memory cannot be had.
  Status resize(std::uint32_t size);
  [[nodiscard]] std::uint32_t size() const { return size_.load(std::memory_order_relaxed); }
  // REQUIRES index < size().
  [[nodiscard]] std::uint32_t load(std::uint32_t index) const {
    const std::atomic_ref<std::uint64_t> word = shared_word(index);
    const auto is_shared = [&] { return (word.load(std::memory_order_acquire) & shared_mask(index)) != 0; };
    if (is_shared()) {
      const std::uint32_t entry = slot(index).load(std::memory_order_acquire);
      if (is_shared()) return with_flag(entry);
    }
    return slot(index).load(std::memory_order_acquire);
  }
  // As it is stored on the disk: without kSharedFlag.
  [[nodiscard]] std::uint32_t load_unmarked(std::uint32_t index) const {
    return slot(index).load(std::memory_order_acquire) & ~format::kSharedFlag;
  }
  // Stores to one entry must not run beside each other.
  void store(std::uint32_t index, std::uint32_t entry) {
    if (entry != 0) note_written(index / kEntriesPerGroup);
    const std::atomic_ref<std::uint64_t> word = shared_word(index);
    if ((word.load(std::memory_order_relaxed) & shared_mask(index)) != 0) {
      slot(index).store(with_flag(slot(index).load(std::memory_order_relaxed)), std::memory_order_release);
      word.fetch_and(~shared_mask(index), std::memory_order_release);
    }
    slot(index).store(entry, std::memory_order_release);
  }
  // Every entry that names a chunk has kSharedFlag from here on, until it is stored anew. REQUIRES that no store runs.
  void share_all();
  // Calls visit(group) for each group that may hold an entry other than EMPTY, ascending. What is first written
  // meanwhile may be missed.
  template <typename Visit>
  void for_each_written_group(Visit&& visit) {
    for (std::size_t i = 0; i < written_.size(); ++i) {
      unsigned left = std::atomic_ref(written_[i]).load(std::memory_order_relaxed);
      for (; left != 0; left &= left - 1) {
        visit(static_cast<std::uint32_t>(i * 8 + static_cast<std::size_t>(std::countr_zero(left))));
      }
    }
  }
  // At least as many groups hold an entry that is not EMPTY.
  [[nodiscard]] std::uint32_t written_groups() const { return groups_.load(std::memory_order_relaxed); }
  // Calls visit(index, entry) for each entry that is not EMPTY, ascending; as for what is missed, see above.
  template <typename Visit>
  void for_each_entry(Visit&& visit) {
    for_each_written_group([&](std::uint32_t group) {
      const std::uint32_t first = group * kEntriesPerGroup;
      for (std::uint32_t i = first; i < size() && i - first < kEntriesPerGroup; ++i) {
        if (const std::uint32_t entry = load(i); entry != format::kEmpty) visit(i, entry);
      }
    });
  }

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
  [[nodiscard]] std::atomic_ref<std::uint64_t> shared_word(std::uint32_t index) const {
    return std::atomic_ref<std::uint64_t>(shared_[index / 64]);
  }
  static std::uint32_t with_flag(std::uint32_t entry) {
    const std::uint32_t chunk = entry & format::kChunkMask;
    return chunk != format::kEmpty && chunk != format::kZero ? entry | format::kSharedFlag : entry;
  }
  static std::uint64_t shared_mask(std::uint32_t index) { return std::uint64_t{1} << index % 64; }

  std::uint32_t* entries_ = nullptr;
  std::atomic<std::uint32_t> size_{0};  // also read outside the gate, where an older one will do
  std::size_t mapped_ = 0;              // bytes
  std::vector<std::uint8_t> written_;   // a bit a group
  std::atomic<std::uint32_t> groups_{0};
  struct Free {
    void operator()(std::uint64_t* memory) const { std::free(memory); }
  };
  // A bit an entry; from calloc, so that what is not used costs nothing.
  std::unique_ptr<std::uint64_t[], Free> shared_;
};

}  // namespace fvd

#endif  // FVD_MAP_LOOKUP_TABLE_H_
