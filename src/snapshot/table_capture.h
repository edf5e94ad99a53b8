// TableCapture: the front's mapping at one instant, made into a table object.
//
// As a live migration copies memory: prepare() copies the mapping while requests change it, then what they have changed
// meanwhile, until that is little; take(), with the freeze gate closed, looks at no more than the rest; finish() puts
// all together while requests run again. So the time that requests wait for does not grow with the disk. One thread
// uses a capture, once.
#ifndef FVD_SNAPSHOT_TABLE_CAPTURE_H_
#define FVD_SNAPSHOT_TABLE_CAPTURE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/endian.h"
#include "format/layout.h"
#include "format/table.h"
#include "map/front.h"

namespace fvd {

class TableCapture {
 public:
  explicit TableCapture(const format::Geometry& geometry) : geometry_(geometry) {}

  // Begins a capture of the front's change set; whoever made it calls end_capture() when the table is the truth, or
  // is not wanted any more. Until take() nothing may change without being marked.
  void prepare(Front& front);
  // The instant. REQUIRES the gate closed. With `share` every chunk of the front is from now on a snapshot's: never
  // written in place, never freed by the front.
  void take(Front& front, bool share);
  // Builds the object; `virtual_size` bytes is the size of the state. What follows is valid after it.
  void finish(std::uint64_t virtual_size);

  [[nodiscard]] bool empty() const { return group_numbers_.empty(); }  // every entry is EMPTY: no object is needed
  [[nodiscard]] std::span<const std::byte> object() const { return std::span(buffer_).subspan(start_); }
  [[nodiscard]] std::uint32_t crc() const { return crc_; }
  [[nodiscard]] std::uint32_t mapped() const { return mapped_; }  // entries that name a chunk
  // Calls visit(chunk) for every chunk that the state reaches, as data or origin; a chunk may come more than once.
  template <typename Visit>
  void for_each_reached(Visit&& visit) const {
    for (std::size_t at = groups_at_; at < partials_at_; at += 4) {
      const auto entry = load_le<std::uint32_t>(buffer_.data() + at);
      if (names_chunk(entry)) visit(entry & format::kChunkMask);
    }
    for (std::size_t at = partials_at_; at < buffer_.size(); at += partial_size()) {
      const auto origin = load_le<std::uint32_t>(buffer_.data() + at + 4);
      if (names_chunk(origin)) visit(origin);
    }
  }

 private:
  // An entry that changed while the table was copied, as it was then or at the cut.
  struct Late {
    std::uint32_t virtual_chunk;
    std::uint32_t entry;
    std::size_t partial;  // where its record begins in late_partials_, or kNoRecord
  };
  static constexpr std::size_t kNoRecord = SIZE_MAX;

  [[nodiscard]] std::size_t partial_size() const { return 8 + geometry_.bitmap_bytes(); }
  [[nodiscard]] std::byte* group(std::size_t index) {
    return buffer_.data() + groups_at_ + index * format::kGroupBytes;
  }
  void add_partial(std::uint32_t virtual_chunk, const PartialMap::Entry& partial, std::vector<std::byte>* to) const;
  std::size_t copy_changes(Front& front);  // since the last call, or prepare() began; returns how many
  // Steps of finish().
  void sort_late_entries();
  void make_room_for_late_groups();
  void put_in_late_entries();
  void leave_out_empty_groups();
  void append_partials();

  const format::Geometry geometry_;
  // Room for the header and the longest index, then the groups, then (from finish() on) the partial records; the object
  // starts where its header ends up right before the groups.
  std::vector<std::byte> buffer_;
  std::vector<std::uint32_t> group_numbers_;
  std::vector<std::byte> partials_;  // in the order of copying
  std::vector<Late> late_;
  std::vector<std::byte> late_partials_;  // apart: with the gate closed there is no time to move the others
  std::size_t groups_at_ = 0;
  std::size_t partials_at_ = 0;
  std::size_t start_ = 0;
  std::uint32_t entries_ = 0;
  std::uint32_t mapped_ = 0;
  std::uint32_t crc_ = 0;
};

}  // namespace fvd

#endif  // FVD_SNAPSHOT_TABLE_CAPTURE_H_
