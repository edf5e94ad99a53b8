// The snapshot directory object: one record a snapshot, in order of creation.
#ifndef FVD_FORMAT_DIRECTORY_H_
#define FVD_FORMAT_DIRECTORY_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/layout.h"

namespace fvd::format {

struct SnapshotRecord {
  static constexpr std::size_t kFixedSize = 64;
  static constexpr std::uint32_t kFlagHold = 1U << 0;

  std::uint32_t id = 0;      // 1.., unique, below the superblock's next_snapshot_id
  std::uint32_t parent = 0;  // 0 or the id of another record
  std::uint32_t flags = 0;
  ObjectRef table;                 // none = all EMPTY
  std::uint64_t virtual_size = 0;  // bytes
  std::int64_t created_seconds = 0;
  std::uint32_t created_nanoseconds = 0;
  std::uint64_t mapped_bytes = 0;  // bytes of chunks in its table (chunk_size each)
  std::string name;
  std::string description;
};

// The longest directory object there can be, bytes.
inline constexpr std::uint64_t kLongestDirectory = 64 + 65535ULL * (SnapshotRecord::kFixedSize + 255 + 4096 + 7);

// The whole object, sealed.
std::vector<std::byte> encode_directory(const std::vector<SnapshotRecord>& records);
// Checks magic, length, CRC, every field, that ids and names are unique, names valid, parents present and without
// cycles, ids below `next_snapshot_id`, virtual sizes in range, table references within chunk_limit.
Result<std::vector<SnapshotRecord>> decode_directory(std::span<const std::byte> object, const ObjectRef& ref,
                                                     const Geometry& geometry, std::uint32_t chunk_limit,
                                                     std::uint32_t next_snapshot_id);

// kInvalid (empty, '/', ".", "..", control characters, not UTF-8), kNameTooLong (over 255 bytes), kExists for the
// reserved "current-state"; ok otherwise.
Status check_snapshot_name(std::string_view name);

}  // namespace fvd::format

#endif  // FVD_FORMAT_DIRECTORY_H_
