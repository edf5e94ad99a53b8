// TableCapture: the front's mapping at one instant, made into a table object.
//
// prepare() does what can be done while requests run (sizes and touches the buffer), take() copies at memory speed with
// the freeze gate closed, finish() sorts and seals while requests run again. One thread uses a capture.
#ifndef FVD_SNAPSHOT_TABLE_CAPTURE_H_
#define FVD_SNAPSHOT_TABLE_CAPTURE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/endian.h"
#include "format/layout.h"
#include "format/table.h"
#include "map/front.h"

namespace fvd {

class TableCapture {
 public:
  explicit TableCapture(const format::Geometry& geometry) : geometry_(geometry) {}

  void prepare(Front& front);
  // REQUIRES the gate closed. With `mark_shared` every chunk of the front is from now on a snapshot's: never written in
  // place, never freed by the front.
  void take(Front& front, bool mark_shared);
  // Builds the object; `virtual_size` bytes is the size of the state.
  void finish(std::uint64_t virtual_size);

  [[nodiscard]] bool empty() const { return group_numbers_.empty(); }  // every entry is EMPTY: no object is needed
  [[nodiscard]] std::span<const std::byte> object() const { return std::span(buffer_).subspan(start_, length_); }
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
  [[nodiscard]] std::size_t partial_size() const { return 8 + geometry_.bitmap_bytes(); }
  void sort_partials();

  const format::Geometry geometry_;
  // Room for the header and the longest index, then the groups, then the partial records; the object starts where
  // its header ends up right before the groups.
  std::vector<std::byte> buffer_;
  std::vector<std::uint32_t> group_numbers_;
  std::size_t groups_at_ = 0;
  std::size_t partials_at_ = 0;
  std::size_t start_ = 0;
  std::size_t length_ = 0;
  std::uint32_t entries_ = 0;
  std::uint32_t mapped_ = 0;
  std::uint32_t crc_ = 0;
};

}  // namespace fvd

#endif  // FVD_SNAPSHOT_TABLE_CAPTURE_H_
