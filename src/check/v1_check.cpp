#include "check/v1_check.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "base/endian.h"
#include "format/object.h"
#include "format/v1_header.h"
#include "format/v1_journal.h"
#include "format/v1_upgrade.h"
#include "io/file.h"
#include "io/posix_file.h"

namespace fvd {

using format::V1Header;

namespace {

constexpr std::size_t kMaxFindings = 1000;
constexpr std::uint64_t kReadAtOnce = 1 << 20;

class V1Checker {
 public:
  explicit V1Checker(File& file) : file_(file) {}

  Result<CheckReport> run() {
    std::array<std::byte, V1Header::kSize> bytes;
    if (Status s = file_.read(0, bytes); !s) return s;
    auto header = V1Header::decode(bytes);
    if (!header) {
      corrupt("header", header.status().message());
      return report_;
    }
    header_ = std::move(*header);
    report_.clean = header_.clean;
    if (Status s = open_store(); !s) return s;
    if (!regions_are_there()) return report_;
    if (Status s = check_bitmap(); !s) return s;
    if (Status s = read_table(); !s) return s;
    if (!header_.clean) {
      if (Status s = replay(); !s) return s;
    }
    if (Status s = check_chunks(); !s) return s;
    return report_;
  }

 private:
  void corrupt(const char* structure, std::string message) {
    ++report_.corruptions;
    if (report_.findings.size() < kMaxFindings) {
      report_.findings.push_back({CheckFinding::Kind::kCorruption, structure, std::move(message)});
    }
  }

  Status open_store() {
    if (!header_.data_path.empty()) {
      PosixFileOptions how;
      how.read_only = true;
      auto file = PosixFile::open(path_beside(file_.path(), header_.data_path), how);
      if (!file) return {file.code(), "data file: " + file.status().message(), file.status().system_error()};
      data_file_ = std::move(*file);
    }
    const auto size = (data_file_ ? *data_file_ : file_).size();
    if (!size) return size.status();
    store_size_ = *size;
    return Status::ok();
  }

  bool regions_are_there() {
    const auto size = file_.size();
    const auto allocated = file_.allocated();
    bool there = size.is_ok() && allocated.is_ok();
    for (const V1Header::Region& region : header_.regions()) {
      if (there && region.offset + region.size > *size) {
        corrupt("header",
                std::string("the file ends before its ") + region.name + " does (" + std::to_string(*size) + " bytes)");
        there = false;
      }
    }
    if (there && header_.bitmap_bytes() + header_.table_bytes() > format::longest_credible(~0ULL, *allocated)) {
      corrupt("header", "bitmap and lookup table are longer than the host has stored of this file");
      there = false;
    }
    return there;
  }

  // Bits past the base are 0, or all 1 when all of the base was fetched.
  Status check_bitmap() {
    if (header_.base_blocks() == 0) return Status::ok();
    std::vector<std::byte> last(1);
    const std::uint64_t spare = header_.base_blocks() % 8;
    if (spare == 0) return Status::ok();
    if (Status s = file_.read(header_.bitmap_offset + header_.bitmap_bytes() - 1, last); !s) return s;
    const unsigned bits = std::to_integer<unsigned>(last[0]) >> spare;
    if (bits != 0 && bits != 0xFFU >> spare) corrupt("bitmap", "it has bits past the base image");
    return Status::ok();
  }

  Status read_table() {
    std::vector<std::byte> bytes(std::size_t{header_.entries()} * 4);
    if (Status s = file_.read(header_.table_offset, bytes); !s) return s;
    table_.resize(header_.entries());
    for (std::size_t v = 0; v < table_.size(); ++v) table_[v] = load_le<std::uint32_t>(bytes.data() + v * 4);
    return Status::ok();
  }

  Status replay() {
    std::vector<std::byte> bytes(std::min(header_.journal_size, kReadAtOnce));
    const std::uint64_t end = header_.journal_offset + header_.journal_size;
    for (std::uint64_t at = header_.journal_offset; at < end;) {
      const auto data = file_.seek_data(at, end);
      if (!data) return data.status();
      at += (*data - at) / format::kV1JournalSector * format::kV1JournalSector;
      if (at == end) break;
      const std::span<std::byte> piece = std::span(bytes).first(std::min<std::uint64_t>(bytes.size(), end - at));
      if (Status s = file_.read(at, piece); !s) return s;
      for (std::size_t i = 0; i < piece.size(); i += format::kV1JournalSector) {
        const Status s = format::for_each_v1_record(piece.subspan(i).first<format::kV1JournalSector>(),
                                                    [this](const auto& record) { return apply(record); });
        if (!s) corrupt("journal", s.message() + " (sector at " + std::to_string(at + i) + ")");
      }
      at += piece.size();
    }
    return Status::ok();
  }

  Status apply(const format::V1JournalRecord& record) {
    ++report_.journal_records;
    if (!record.is_table || !header_.compact) return Status::ok();
    if (std::uint64_t{record.first_chunk} + record.count() > table_.size()) {
      return {Code::kCorrupt, "a record is of chunks past the end of the disk"};
    }
    for (std::uint32_t i = 0; i < record.count(); ++i)
      table_[record.first_chunk + i] = record.entry(i) & ~V1Header::kDirty;
    return Status::ok();
  }

  Status check_chunks() {
    if (header_.compact && store_size_ > header_.data_offset) {
      report_.chunks_total = (store_size_ - header_.data_offset) / header_.chunk_size;
    }
    std::vector<std::pair<std::uint32_t, std::uint32_t>> named;  // chunk, virtual chunk
    for (std::uint32_t v = 0; v < table_.size(); ++v) {
      if (table_[v] == V1Header::kEmpty) continue;
      const std::uint32_t number = table_[v] & ~V1Header::kDirty;
      named.emplace_back(number, v);
      const std::string which = "virtual chunk " + std::to_string(v);
      const auto offset = header_.chunk_offset(number);
      if (number == V1Header::kNoChunk || !offset || *offset + header_.chunk_size > store_size_) {
        corrupt("table", which + " is chunk " + std::to_string(number) + ", which lies past the end of the data");
      } else if (const Status s = header_.check_data(*offset, header_.chunk_size); !s) {
        corrupt("table", which + ": " + s.message());
      }
    }
    std::sort(named.begin(), named.end());
    for (std::size_t i = 1; i < named.size(); ++i) {
      if (named[i].first != named[i - 1].first) continue;
      corrupt("table", "virtual chunks " + std::to_string(named[i - 1].second) + " and " +
                           std::to_string(named[i].second) + " are both chunk " + std::to_string(named[i].first));
    }
    report_.chunks_used = named.size();
    return Status::ok();
  }

  File& file_;
  CheckReport report_;
  V1Header header_;
  std::unique_ptr<File> data_file_;
  std::uint64_t store_size_ = 0;
  std::vector<std::uint32_t> table_;
};

}  // namespace

Result<bool> is_v1_image(File& file) {
  std::array<std::byte, format::kIdentityBytes> first;
  if (Status s = file.read(0, first); !s) return s;
  return format::identify(first).kind == format::Identity::Kind::kVersion1;
}

Result<CheckReport> check_v1_image(File& file) { return V1Checker(file).run(); }

}  // namespace fvd
