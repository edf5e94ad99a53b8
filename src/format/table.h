// The table object: one lookup table (virtual chunk -> entry), stored without its empty groups, then the partial
// records in ascending order of virtual chunk.
#ifndef FVD_FORMAT_TABLE_H_
#define FVD_FORMAT_TABLE_H_

#include <cstdint>
#include <functional>
#include <span>

#include "format/layout.h"

namespace fvd::format {

// So few that scattered data does not make a table long, so many that the index is short beside them.
inline constexpr std::uint32_t kEntriesPerGroup = 16;
inline constexpr std::uint32_t kGroupBytes = kEntriesPerGroup * 4;

struct TableHeader {
  std::uint64_t virtual_size = 0;   // bytes
  std::uint32_t entries = 0;        // = Geometry::virtual_chunks(virtual_size)
  std::uint32_t stored_groups = 0;  // groups of entries that hold an entry other than EMPTY
  std::uint32_t partial_count = 0;
  std::uint32_t bitmap_bytes = 0;  // = Geometry::bitmap_bytes()

  // Layout of the object, bytes from its start.
  [[nodiscard]] std::uint64_t index_offset() const { return 64; }  // stored_groups x u32, ascending group numbers
  [[nodiscard]] std::uint64_t groups_offset() const;               // next multiple of kPage
  [[nodiscard]] std::uint64_t partials_offset() const {
    return groups_offset() + std::uint64_t{stored_groups} * kGroupBytes;
  }
  [[nodiscard]] std::uint64_t partial_size() const { return 8 + bitmap_bytes; }
  [[nodiscard]] std::uint64_t length() const { return partials_offset() + partial_count * partial_size(); }

  // The longest object that a table for a disk of that many bytes can be; REQUIRES virtual_size <= kMaxVirtualSize.
  static std::uint64_t longest(const Geometry& geometry, std::uint64_t virtual_size);

  // Writes the fields after the common object header (object.size() >= 64); seal_object does the rest.
  void encode(std::span<std::byte> object) const;
  // Checks the counts against each other, `geometry` and `object_length`. `in` is the first 64 bytes.
  static Result<TableHeader> decode(std::span<const std::byte> in, std::uint64_t object_length,
                                    const Geometry& geometry);
};

// A partial record: u32 virtual chunk, u32 origin, then the bitmap (bit b of word b/64: block b is present).
struct PartialRecord {
  std::uint32_t virtual_chunk = 0;
  std::uint32_t origin = 0;
  std::span<const std::byte> bitmap;  // bitmap_bytes, little-endian words
};

// Checks one table entry as stored: EMPTY, ZERO, or a chunk in 1..chunk_limit with or without kPartialFlag.
bool entry_is_valid(std::uint32_t entry, std::uint32_t chunk_limit);
// kOriginZero, kOriginBase, or a chunk in 1..chunk_limit.
bool origin_is_valid(std::uint32_t origin, std::uint32_t chunk_limit);

// A verified view of a whole table object in memory. The bytes must outlive it.
class TableView {
 public:
  // Checks everything that the format demands: magic, length, CRC (verify_object), header, group index ascending and
  // in range, entries valid (also: none past `entries`, no kSharedFlag), partial records ascending, exactly one for
  // each entry with kPartialFlag, origins valid, no bitmap with bits past blocks_per_chunk or with all blocks present
  // (a writer stores such a chunk as complete), no group of EMPTY entries only.
  static Result<TableView> parse(std::span<const std::byte> object, const ObjectRef& ref, const Geometry& geometry,
                                 std::uint32_t chunk_limit);
  [[nodiscard]] const TableHeader& header() const { return header_; }
  [[nodiscard]] std::uint32_t group_number(std::uint32_t stored_group) const;  // 0 <= stored_group < stored_groups
  [[nodiscard]] std::span<const std::byte> group(std::uint32_t stored_group) const;  // kGroupBytes
  [[nodiscard]] PartialRecord partial(std::uint32_t index) const;                    // 0 <= index < partial_count
  // Calls visit(virtual chunk, entry) for each entry that is not EMPTY, ascending.
  void for_each_entry(const std::function<void(std::uint32_t, std::uint32_t)>& visit) const;

 private:
  TableHeader header_;
  std::span<const std::byte> object_;
};

}  // namespace fvd::format

#endif  // FVD_FORMAT_TABLE_H_
