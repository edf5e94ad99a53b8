// Steps of an upgrade that leave an image of version 1, with the same content: a journal that means nothing any more,
// and room for the metadata of version 2. Each can be cut anywhere by a loss of power.
#ifndef FVD_IMAGE_V1_ROOM_H_
#define FVD_IMAGE_V1_ROOM_H_

#include <cstdint>

#include "image/v1_state.h"
#include "io/storage.h"

namespace fvd {

// Least room before the data: page 0, the page with the rest of the header, two superblock slots, and a journal.
inline constexpr std::uint64_t kV1UpgradeRoom = 8192 + 2 * 4096 + 2 * 8192;

// Applies the journal to bitmap and table, as the original's recovery does, and sets clean_shutdown. Durable.
Status settle_v1_journal(Storage& storage, const V1State& state);

// Moves chunk 0 behind the others, so that nothing is where it was; an image without a lookup table gets one, with
// chunks of `chunk_size` bytes. Durable. REQUIRES that the journal means nothing.
Status move_v1_chunk_0(Storage& storage, V1State& state, std::uint64_t chunk_size);

}  // namespace fvd

#endif  // FVD_IMAGE_V1_ROOM_H_
