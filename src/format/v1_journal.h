// The journal of an original FVD image (version 1): independent sectors of 512 bytes, each with records back to back.
// They are neither numbered nor checksummed; replaying all of them, old ones too, in any order gives the same, since a
// mapped chunk never moves and a bit is never cleared.
#ifndef FVD_FORMAT_V1_JOURNAL_H_
#define FVD_FORMAT_V1_JOURNAL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/endian.h"
#include "fvd/status.h"

namespace fvd::format {

inline constexpr std::size_t kV1JournalSector = 512;

struct V1JournalRecord {
  bool is_table = false;
  // Of the bitmap: every block that these sectors of the virtual disk touch is in the image. May lie past the base.
  std::uint64_t first_sector = 0;
  std::uint32_t sectors = 0;
  // Of the table: entries of consecutive virtual chunks, as they stand there (the dirty bit usually set).
  std::uint32_t first_chunk = 0;
  std::span<const std::byte> entries;
  [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(entries.size() / 4); }
  [[nodiscard]] std::uint32_t entry(std::uint32_t i) const {
    return load_le<std::uint32_t>(entries.data() + std::size_t{i} * 4);
  }
};

// Calls visit(record) for each record of a sector, up to the first word that begins none: what follows it was never
// written on purpose. kCorrupt for a record that does not fit into its sector or has a negative place, and what visit
// returns.
Status for_each_v1_record(std::span<const std::byte, kV1JournalSector> sector,
                          const std::function<Status(const V1JournalRecord&)>& visit);

}  // namespace fvd::format

#endif  // FVD_FORMAT_V1_JOURNAL_H_
