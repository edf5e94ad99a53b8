// MapDiff: where two disk states of one image differ, from their mappings alone.
//
// Two states read the same where they are mapped to the same place: the same blocks of the same chunk, the same blocks
// of the base image, or zeros. A chunk's content cannot have changed between two snapshots that reach it, so the same
// place is the same content. Reads no data. Stateless but for the maps; thread-safe as they are.
#ifndef FVD_IMAGE_DIFF_H_
#define FVD_IMAGE_DIFF_H_

#include <array>
#include <cstdint>

#include "format/layout.h"
#include "fvd/image.h"
#include "image/state_io.h"

namespace fvd {

class MapDiff {
 public:
  // A state: its mapping and the size of its disk, bytes.
  struct Side {
    StateMap& map;
    std::uint64_t virtual_size;
  };
  // `io` tells where the base image shows through.
  MapDiff(const StateIo& io, const format::Geometry& geometry, Side a, Side b)
      : io_(io), geometry_(geometry), sides_{a, b} {}

  // As StateDiff::run().
  Result<StateDiff::Run> run(std::uint64_t offset);

 private:
  // The mapping of virtual chunk `v`; zeros past the end of the disk.
  Status lookup(const Side& side, std::uint32_t v, Mapping* out) const;
  // Virtual chunks from `v` on that read the same on both sides for want of any mapping; `limit` at most.
  [[nodiscard]] std::uint32_t equal_run(std::uint32_t v, std::uint32_t limit) const;
  // What a block is mapped to: a chunk, or kZero for zeros, or kEmpty for the base image.
  [[nodiscard]] std::uint32_t place(std::uint32_t v, const Mapping& mapping, bool present) const;
  // The first byte after `offset`, both within virtual chunk `v`, where the answer changes; a whole chunk at most.
  [[nodiscard]] std::uint64_t compare(std::uint32_t v, const Mapping& a, const Mapping& b, std::uint64_t offset,
                                      bool* differs) const;

  const StateIo io_;
  const format::Geometry geometry_;
  const std::array<Side, 2> sides_;
};

}  // namespace fvd

#endif  // FVD_IMAGE_DIFF_H_
