// The image header: geometry, written once at creation and never changed.
#ifndef FVD_FORMAT_HEADER_H_
#define FVD_FORMAT_HEADER_H_

#include <cstdint>
#include <span>

#include "format/layout.h"

namespace fvd::format {

struct Header {
  static constexpr std::size_t kSize = kPage;
  static constexpr std::array<unsigned char, 8> kMagic{'F', 'V', 'D', '2', '\r', '\n', 0x1A, '\n'};

  std::uint32_t chunk_log2 = 20;
  std::uint32_t block_log2 = 12;
  std::uint64_t journal_offset = 0;     // bytes, multiple of kPage
  std::uint64_t journal_half_size = 0;  // bytes, multiple of kPage; the journal is two halves back to back
  std::uint64_t data_offset = 0;        // file offset of chunk 1, multiple of kPage
  std::array<std::uint64_t, 2> superblock_offset{kPage, 2 * kPage};
  Uuid uuid{};

  [[nodiscard]] Geometry geometry() const { return {chunk_log2, block_log2, data_offset}; }
  void encode(std::span<std::byte, kSize> out) const;
  // kInvalid: not an FVD image at all; kUnsupported: an original (version 1) image, or a version that this build does
  // not know; kCorrupt: CRC or a field that contradicts docs/format.md (ranges, alignment, overlap of regions).
  static Result<Header> decode(std::span<const std::byte, kSize> in);
};

}  // namespace fvd::format

#endif  // FVD_FORMAT_HEADER_H_
