// The reference-count object: how many snapshots reach each physical chunk, as data or as an origin. 16 bits each.
// Chunks that hold metadata, and what only current-state reaches, count 0.
#ifndef FVD_FORMAT_REFCOUNT_H_
#define FVD_FORMAT_REFCOUNT_H_

#include <cstdint>
#include <span>

#include "format/layout.h"

namespace fvd::format {

struct RefcountHeader {
  std::uint32_t count = 0;  // entries stored: for chunks 0..count-1 (entry 0 is unused and 0); the rest count 0
  [[nodiscard]] std::uint64_t length() const { return 64 + std::uint64_t{count} * 2; }
  void encode(std::span<std::byte> object) const;  // object.size() >= 64
  static Result<RefcountHeader> decode(std::span<const std::byte> in, std::uint64_t object_length,
                                       std::uint32_t chunk_limit);
};

}  // namespace fvd::format

#endif  // FVD_FORMAT_REFCOUNT_H_
