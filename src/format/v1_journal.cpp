#include "format/v1_journal.h"

namespace fvd::format {
namespace {

constexpr std::uint32_t kBitmapRecord = 0x3F2AB8ED;
constexpr std::uint32_t kTableRecord = 0xB4E6F7AC;
constexpr std::size_t kBitmapRecordSize = 16;
constexpr std::size_t kTableRecordHeader = 12;

Status corrupt(const char* what) { return {Code::kCorrupt, std::string("version 1 journal: ") + what}; }

}  // namespace

Status for_each_v1_record(std::span<const std::byte, kV1JournalSector> sector,
                          const std::function<Status(const V1JournalRecord&)>& visit) {
  for (std::size_t at = 0; at + 4 <= sector.size();) {
    const std::byte* record = sector.data() + at;
    const std::size_t left = sector.size() - at;
    const auto type = load_le<std::uint32_t>(record);
    V1JournalRecord found;
    if (type == kBitmapRecord) {
      if (left < kBitmapRecordSize) return corrupt("a record does not fit into its sector");
      found.sectors = load_le<std::uint32_t>(record + 4);
      found.first_sector = load_le<std::uint64_t>(record + 8);
      if (found.first_sector >> 63 != 0) return corrupt("a record is of a negative sector");
      at += kBitmapRecordSize;
    } else if (type == kTableRecord) {
      if (left < kTableRecordHeader) return corrupt("a record does not fit into its sector");
      found.is_table = true;
      found.first_chunk = load_le<std::uint32_t>(record + 4);
      const auto count = load_le<std::uint32_t>(record + 8);
      if (count > (left - kTableRecordHeader) / 4) return corrupt("a record does not fit into its sector");
      found.entries = std::span(record + kTableRecordHeader, std::size_t{count} * 4);
      at += kTableRecordHeader + found.entries.size();
    } else {
      break;
    }
    if (Status s = visit(found); !s) return s;
  }
  return Status::ok();
}

}  // namespace fvd::format
