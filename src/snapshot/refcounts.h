// Refcounts: the reference-count table for the time of one snapshot operation.
//
// It is read, changed and written as a new object by snapshot operations only, and never kept in memory between them
// (design invariant 1). Not thread-safe.
#ifndef FVD_SNAPSHOT_REFCOUNTS_H_
#define FVD_SNAPSHOT_REFCOUNTS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "format/layout.h"
#include "fvd/status.h"
#include "io/storage.h"

namespace fvd {

class Refcounts {
 public:
  static constexpr std::uint16_t kMax = 65535;

  // Reads and verifies the object; counts for chunks up to `chunk_limit`. A ref of none means all zero.
  static Result<Refcounts> load(Storage& storage, const format::Geometry& geometry, const format::ObjectRef& ref,
                                std::uint32_t chunk_limit);

  [[nodiscard]] std::uint32_t chunk_limit() const { return limit_; }
  [[nodiscard]] std::uint16_t get(std::uint32_t chunk) const;  // REQUIRES 1 <= chunk <= chunk_limit
  // False when the count is at its end (65,535 or 0) and was left alone.
  bool increment(std::uint32_t chunk);
  bool decrement(std::uint32_t chunk);

  // Seals and returns the object without trailing zero counts; empty() when every count is zero.
  std::span<const std::byte> finish(std::uint32_t* crc);

 private:
  void put(std::uint32_t chunk, std::uint16_t count);
  std::vector<std::byte> object_;  // header and counts; those past its end are 0
  std::uint32_t limit_ = 0;
};

}  // namespace fvd

#endif  // FVD_SNAPSHOT_REFCOUNTS_H_
