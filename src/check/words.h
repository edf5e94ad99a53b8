// The words of a lookup table, as the checker reads them. Pure functions.
#ifndef FVD_CHECK_WORDS_H_
#define FVD_CHECK_WORDS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/crc32c.h"
#include "base/endian.h"
#include "format/layout.h"

namespace fvd {

// Whether an entry or an origin names a physical chunk.
inline bool names_a_chunk(std::uint32_t word) {
  const std::uint32_t chunk = word & format::kChunkMask;
  return chunk != format::kEmpty && chunk != format::kZero;
}

// One number for origin and bitmap, so that two tables that name the same partial chunk can be compared.
inline std::uint32_t shape_of(std::uint32_t origin, std::span<const std::byte> bitmap) {
  std::array<std::byte, 4> bytes;
  store_le(bytes.data(), origin);
  return crc32c(bitmap, crc32c(bytes)) & 0xFFFFFF;
}

}  // namespace fvd

#endif  // FVD_CHECK_WORDS_H_
