// StateIo: reads any disk state through its mapping. What is common to current-state and snapshots.
//
// A StateMap answers "where is virtual chunk v?" with a Mapping value; StateIo turns that into reads of data chunks,
// origins and the base image. Stateless and thread-safe; whoever calls sees to it that the chunks named by the mapping
// stay (the freeze gate for current-state, a counted reader for a snapshot).
#ifndef FVD_IMAGE_STATE_IO_H_
#define FVD_IMAGE_STATE_IO_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "backing/base_image.h"
#include "format/layout.h"
#include "fvd/image.h"
#include "fvd/status.h"
#include "io/storage.h"
#include "map/front.h"

namespace fvd {

class StateMap {
 public:
  virtual ~StateMap() = default;
  // The mapping of virtual chunk `v`, one value at one instant. REQUIRES v within the disk.
  virtual Status lookup(std::uint32_t v, Mapping* out) = 0;
  // How many chunks from `v` on (at least 0, at most `limit`) are EMPTY; may stop early.
  virtual std::uint32_t empty_run(std::uint32_t v, std::uint32_t limit) = 0;
};

class StateIo {
 public:
  StateIo(Storage& storage, const format::Geometry& geometry, BaseImage* base)
      : storage_(storage), geometry_(geometry), base_(base) {}

  // Fills `out` from `offset`; REQUIRES the range within the disk. Neighbouring chunks that are complete and lie one
  // after the other in the file are read with one request.
  Status read(StateMap& map, std::uint64_t offset, std::span<std::byte> out);
  Result<Extent> extent(StateMap& map, std::uint64_t virtual_size, std::uint64_t offset);

  // Fills `out` with what lies at `offset` of chunk `v` under its own blocks: the origin.
  Status read_origin(std::uint32_t v, std::uint32_t origin, std::uint64_t offset, std::span<std::byte> out);
  // Whether an EMPTY chunk `v` shows the base image.
  [[nodiscard]] bool base_covers(std::uint32_t v) const {
    return base_ != nullptr && (std::uint64_t{v} << geometry_.chunk_log2) < base_->size();
  }

 private:
  Status read_partial(std::uint32_t v, const Mapping& mapping, std::uint64_t offset, std::span<std::byte> out);
  Result<Extent> extent_in_chunk(std::uint32_t v, const Mapping& mapping, std::uint64_t offset, std::uint64_t length);
  Result<Extent> extent_of_origin(std::uint32_t v, std::uint32_t origin, std::uint64_t offset, std::uint64_t length);
  Result<Extent> extent_of_file(std::uint32_t chunk, std::uint64_t offset, std::uint64_t length);

  Storage& storage_;
  const format::Geometry geometry_;
  BaseImage* const base_;
};

}  // namespace fvd

#endif  // FVD_IMAGE_STATE_IO_H_
