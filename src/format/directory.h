// The snapshot directory object: one record a snapshot, in order of creation.
#ifndef FVD_FORMAT_DIRECTORY_H_
#define FVD_FORMAT_DIRECTORY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/endian.h"
#include "format/layout.h"
#include "format/object.h"

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

  [[nodiscard]] std::size_t encoded_size() const;     // bytes, a multiple of 8
  void encode(std::byte* out) const;                  // encoded_size() bytes
  static SnapshotRecord decode(const std::byte* in);  // REQUIRES a record that check_directory() has passed
};

// A record as it is stored, where only some fields are of interest. REQUIRES as SnapshotRecord::decode().
class StoredRecord {
 public:
  explicit StoredRecord(const std::byte* at) : at_(at) {}
  [[nodiscard]] std::uint32_t length() const { return load_le<std::uint32_t>(at_); }  // of the whole record
  [[nodiscard]] std::uint32_t id() const { return load_le<std::uint32_t>(at_ + 4); }
  [[nodiscard]] std::uint32_t parent() const { return load_le<std::uint32_t>(at_ + kParentOffset); }
  [[nodiscard]] std::uint32_t table_chunk() const { return load_le<std::uint32_t>(at_ + 16); }  // 0 = none
  [[nodiscard]] std::string_view name() const {
    return {reinterpret_cast<const char*>(at_ + SnapshotRecord::kFixedSize), load_le<std::uint16_t>(at_ + 52)};
  }
  static constexpr std::size_t kParentOffset = 8;

 private:
  const std::byte* at_;
};

// The longest directory object there can be, bytes.
inline constexpr std::uint64_t kLongestDirectory = 64 + 65535ULL * (SnapshotRecord::kFixedSize + 255 + 4096 + 7);

// Header of an object whose records follow in pieces; seals it, and returns the CRC.
std::uint32_t seal_directory(std::span<std::byte, kObjectHeader> header, std::uint32_t count,
                             std::span<const std::span<const std::byte>> records);
// The whole object, sealed.
std::vector<std::byte> encode_directory(const std::vector<SnapshotRecord>& records);
// Checks magic, length, CRC, every field, that ids and names are unique, names valid, parents present and without
// cycles, ids below `next_snapshot_id`, virtual sizes in range, table references within chunk_limit.
Status check_directory(std::span<const std::byte> object, const ObjectRef& ref, const Geometry& geometry,
                       std::uint32_t chunk_limit, std::uint32_t next_snapshot_id);
// Checks as check_directory() does.
Result<std::vector<SnapshotRecord>> decode_directory(std::span<const std::byte> object, const ObjectRef& ref,
                                                     const Geometry& geometry, std::uint32_t chunk_limit,
                                                     std::uint32_t next_snapshot_id);

// kInvalid (empty, '/', ".", "..", control characters, not UTF-8), kNameTooLong (over 255 bytes), kExists for the
// reserved "current-state"; ok otherwise.
Status check_snapshot_name(std::string_view name);

}  // namespace fvd::format

#endif  // FVD_FORMAT_DIRECTORY_H_
