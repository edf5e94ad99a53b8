// The mapping of an original image (version 1) as the front of a version 2 image: what is read from where stays.
//
// Chunks keep their places. Blocks of version 1 may be any multiple of 512 bytes and begin anywhere in a chunk; a block
// of version 2 that would come partly from the base image is filled from it, in bytes that version 1 does not show.
// One thread uses it.
#ifndef FVD_IMAGE_V1_MAPPING_H_
#define FVD_IMAGE_V1_MAPPING_H_

#include <cstdint>
#include <vector>

#include "format/layout.h"
#include "image/v1_state.h"
#include "io/storage.h"
#include "map/front.h"

namespace fvd {

class V1Mapping {
 public:
  // `chunk_log2`: of the image, or of what it is divided into where it has no lookup table. `skipped`: how many
  // physical chunks of version 1 lie before the first of version 2; none of them is in use.
  V1Mapping(Storage& storage, V1State& state, std::uint32_t chunk_log2, std::uint32_t skipped);

  // Goes through the disk once to choose the block size, and to count. Writes nothing.
  void survey();
  [[nodiscard]] format::Geometry geometry() const;
  // Fills `front`, and writes what of the data must be there: parts of blocks, zeros behind the end of the disk, zeros
  // where a chunk shows some of the base and none of its own. Nothing of that can be seen by version 1. Not yet
  // durable. kNoSpace when the file cannot grow, kUnsupported for more chunks than version 2 numbers.
  Status build(Front& front);
  // The first physical chunk behind all that build() has mapped.
  [[nodiscard]] std::uint32_t next_chunk() const { return next_; }

 private:
  // A run of bytes of one chunk of the disk: from the base image, or not.
  struct Run {
    std::uint64_t begin = 0;  // bytes, within the chunk
    std::uint64_t end = 0;
    bool from_base = false;
  };
  struct Chunk {
    std::vector<Run> runs;
    bool any_base = false;
    bool any_own = false;      // bytes that are not the base's, and must not become so
    bool over_base = false;    // begins before the end of the base
    std::uint32_t number = 0;  // physical, of version 2; 0 = has none
    std::uint64_t size = 0;    // bytes up to the end of the disk
  };
  void look(std::uint32_t v, Chunk* chunk) const;
  [[nodiscard]] bool is_hole(const Chunk& chunk) const;
  Status map_partial(std::uint32_t v, Chunk& chunk, Front& front);
  Status fill(std::uint32_t v, const Chunk& chunk, std::uint64_t begin, std::uint64_t end);
  Status zero_behind_disk(const Chunk& chunk);
  [[nodiscard]] std::uint32_t chunks() const;

  Storage& storage_;
  V1State& state_;
  const std::uint32_t chunk_log2_;
  const std::uint32_t skipped_;
  std::uint32_t block_log2_ = 0;
  std::uint32_t next_ = 1;
  std::uint32_t new_chunks_ = 0;  // that build() will take
};

}  // namespace fvd

#endif  // FVD_IMAGE_V1_MAPPING_H_
