// Front: the mapping of the one writable state: lookup table, partial chunks, and what changed.
//
// Locks: an entry may be loaded by anyone. Changing an entry, or looking at a partial chunk, takes the stripe of the
// virtual chunk. Inside a stripe only leaf locks (ChangeSet, ChunkAllocator) are taken. Replacing the whole mapping
// (goto, resize) needs the freeze gate closed.
//
// An entry without kSharedFlag names a chunk that only this entry reaches: it may be written in place and is freed when
// the entry goes. With the flag, the chunk is never written and never freed by the front. A cut gives it to all entries
// at once (share_all).
#ifndef FVD_MAP_FRONT_H_
#define FVD_MAP_FRONT_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>

#include "format/layout.h"
#include "map/change_set.h"
#include "map/lookup_table.h"
#include "map/partial_map.h"

namespace fvd {

inline bool names_chunk(std::uint32_t entry) {
  const std::uint32_t chunk = entry & format::kChunkMask;
  return chunk != format::kEmpty && chunk != format::kZero;
}
inline bool is_own(std::uint32_t entry) { return names_chunk(entry) && (entry & format::kSharedFlag) == 0; }
inline bool is_own_complete(std::uint32_t entry) {
  return names_chunk(entry) && (entry & (format::kSharedFlag | format::kPartialFlag)) == 0;
}

// What a lookup tells about one virtual chunk: a value, free to use after all locks are gone.
struct Mapping {
  static constexpr std::size_t kMaxWords = format::kMaxBlocksPerChunk / 64;
  std::uint32_t entry = format::kEmpty;  // with kPartialFlag: origin and the first bitmap_words() of words are set
  std::uint32_t origin = 0;
  std::array<std::uint64_t, kMaxWords> words;
};

struct Front {
  struct alignas(64) Stripe {
    std::mutex mutex;
    PartialMap partials{1};
  };
  static constexpr std::uint32_t kStripes = 64;

  explicit Front(const format::Geometry& geometry) {
    for (Stripe& s : stripes) s.partials = PartialMap(geometry.bitmap_words());
  }
  Stripe& stripe(std::uint32_t virtual_chunk) { return stripes[virtual_chunk % kStripes]; }

  // Exchanges the mapping; the change sets stay. REQUIRES the freeze gate closed.
  void swap_mapping(Front& other) {
    table.swap(other.table);
    for (std::uint32_t i = 0; i < kStripes; ++i) std::swap(stripes[i].partials, other.stripes[i].partials);
    mapped.store(other.mapped.exchange(mapped.load()));
  }

  // From here on every chunk of the front is a snapshot's. REQUIRES the freeze gate closed.
  void share_all() {
    table.share_all();
    for (Stripe& s : stripes) {
      const std::lock_guard lock(s.mutex);  // commits look at partial chunks without passing the gate
      s.partials.disown_origins();
    }
  }

  LookupTable table;
  std::array<Stripe, kStripes> stripes;
  ChangeSet changes;
  std::atomic<std::uint32_t> mapped{0};  // entries that name a chunk
};

}  // namespace fvd

#endif  // FVD_MAP_FRONT_H_
