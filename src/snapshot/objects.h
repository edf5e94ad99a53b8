// Reading and placing immutable metadata objects. No state; thread-safe as Storage and ChunkAllocator are.
#ifndef FVD_SNAPSHOT_OBJECTS_H_
#define FVD_SNAPSHOT_OBJECTS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "format/layout.h"
#include "format/object.h"
#include "fvd/status.h"
#include "io/storage.h"
#include "map/chunk_allocator.h"

namespace fvd {

// The bytes of an object, unverified; REQUIRES Geometry::check_ref. `longest` is what the kind of object allows: an
// object that claims more, or more than the host can have stored, is kCorrupt before memory is reserved for it.
inline Result<std::vector<std::byte>> read_object(Storage& storage, Structure what, const format::Geometry& geometry,
                                                  const format::ObjectRef& ref, std::uint64_t longest) {
  auto allocated = storage.file().allocated();
  if (!allocated) return allocated.status();
  if (ref.length > format::longest_credible(longest, *allocated)) {
    return Status(Code::kCorrupt, "the object in chunk " + std::to_string(ref.first_chunk) +
                                      " is longer than it can be (" + std::to_string(ref.length) +
                                      " bytes); run fvd check");
  }
  std::vector<std::byte> bytes(ref.length);
  if (Status s = storage.read(what, geometry.file_offset(ref.first_chunk), bytes); !s) return s;
  return bytes;
}

// Writes a sealed object to newly allocated chunks. Durable after the next sync; nothing refers to it yet. On failure
// the chunks are free again.
inline Result<format::ObjectRef> write_object(Storage& storage, Structure what, const format::Geometry& geometry,
                                              ChunkAllocator& allocator, std::span<const std::byte> object,
                                              std::uint32_t crc) {
  const std::uint32_t chunks = geometry.object_chunks(object.size());
  auto place = allocator.allocate(chunks);
  if (!place) return place.status();
  if (Status s = storage.write(what, geometry.file_offset(place->first), object); !s) {
    allocator.release(place->first, chunks, false);
    return s;
  }
  return format::ObjectRef{place->first, crc, object.size()};
}

}  // namespace fvd

#endif  // FVD_SNAPSHOT_OBJECTS_H_
