#include "format/v1_header.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"
#include "format/layout.h"

namespace fvd::format {
namespace {

constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kMost = 1ULL << 62;  // no size or offset above: sums of two cannot overflow
constexpr std::uint64_t kMaxChunkSize = 1ULL << 40;

Status corrupt(const std::string& what) { return {Code::kCorrupt, "version 1 header: " + what}; }

bool overlap(const V1Header::Region& a, const V1Header::Region& b) {
  return a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

// Reads fields one after the other and remembers the first that cannot be.
class Fields {
 public:
  explicit Fields(std::span<const std::byte, V1Header::kSize> in) : in_(in) {}

  std::uint64_t size(std::size_t at, const char* name) {
    const auto value = load_le<std::uint64_t>(in_.data() + at);
    if (value > kMost) fail(std::string(name) + " is out of range");
    return value;
  }
  std::uint64_t count(std::size_t at, const char* name) {
    const auto value = load_le<std::uint32_t>(in_.data() + at);
    if (value > 0x7FFFFFFF) fail(std::string(name) + " is negative");
    return value;
  }
  bool flag(std::size_t at, const char* name) {
    const auto value = load_le<std::uint32_t>(in_.data() + at);
    if (value > 1) fail(std::string(name) + " is neither 0 nor 1");
    return value != 0;
  }
  std::string text(std::size_t at, std::size_t length, const char* name) {
    const auto* begin = reinterpret_cast<const char*>(in_.data() + at);
    const auto* end = static_cast<const char*>(std::memchr(begin, 0, length));
    if (end == nullptr) fail(std::string(name) + " does not end");
    return end == nullptr ? std::string() : std::string(begin, end);
  }
  void fail(const std::string& what) {
    if (status_.is_ok()) status_ = corrupt(what);
  }
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  std::span<const std::byte, V1Header::kSize> in_;
  Status status_;
};

Status check_base(const V1Header& h) {
  if (h.base_path.empty()) return corrupt("it needs a base image and names none");
  if (h.block_size == 0 || h.block_size % kSector != 0) return corrupt("the block size is no multiple of 512");
  if (h.bitmap_size < h.bitmap_bytes()) return corrupt("the bitmap is too short for the base image");
  return Status::ok();
}

Status check_table(const V1Header& h) {
  if (h.chunk_size == 0 || h.chunk_size % kPage != 0 || h.chunk_size > kMaxChunkSize) {
    return corrupt("the chunk size is no multiple of 4096, or out of range");
  }
  if (div_ceil(h.virtual_size, h.chunk_size) >= V1Header::kNoChunk) return corrupt("more chunks than can be numbered");
  return Status::ok();
}

Status check_regions(const V1Header& h) {
  const std::vector<V1Header::Region> regions = h.regions();
  for (std::size_t i = 0; i < regions.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (overlap(regions[i], regions[j])) {
        return corrupt(std::string("the ") + regions[i].name + " lies over the " + regions[j].name);
      }
    }
  }
  // The chunks of a table are checked one by one when the table is read.
  if (h.compact) return Status::ok();
  return h.check_data(h.data_offset, h.virtual_size);
}

}  // namespace

std::uint64_t V1Header::base_blocks() const { return has_base() ? div_ceil(base_size, block_size) : 0; }
std::uint32_t V1Header::entries() const {
  return compact ? static_cast<std::uint32_t>(div_ceil(virtual_size, chunk_size)) : 0;
}
std::uint64_t V1Header::table_bytes() const { return align_up(std::uint64_t{entries()} * 4, kPage); }
std::uint64_t V1Header::bitmap_bytes() const { return div_ceil(base_blocks(), 8); }

std::vector<V1Header::Region> V1Header::regions() const {
  std::vector<Region> all{{"header", 0, kSize}};
  if (has_base() && bitmap_size != 0) all.push_back({"bitmap", bitmap_offset, bitmap_size});
  if (compact) all.push_back({"lookup table", table_offset, table_bytes()});
  if (journal_size != 0) all.push_back({"journal", journal_offset, journal_size});
  return all;
}

Result<std::uint64_t> V1Header::chunk_offset(std::uint32_t number) const {
  const auto within = checked_mul<std::uint64_t>(number, chunk_size);
  if (!within || *within > kMost) {
    return corrupt("chunk " + std::to_string(number) + " lies beyond any file");
  }
  return data_offset + *within;
}

Status V1Header::check_data(std::uint64_t offset, std::uint64_t size) const {
  if (!data_path.empty()) return Status::ok();
  for (const Region& region : regions()) {
    if (overlap({"", offset, size}, region)) return corrupt(std::string("data lies over the ") + region.name);
  }
  return Status::ok();
}

bool V1Header::has_magic(std::span<const std::byte> in) {
  return in.size() >= kMagic.size() && std::memcmp(in.data(), kMagic.data(), kMagic.size()) == 0;
}

Result<V1Header> V1Header::decode(std::span<const std::byte, kSize> in) {
  if (!has_magic(in)) return Status(Code::kInvalid, "not an FVD image of version 1 (no magic at its start)");
  Fields fields(in);
  V1Header h;
  const bool all_data = fields.flag(8, "all_data_in_fvd_img");
  h.virtual_size = fields.size(12, "the virtual size");
  h.data_offset = fields.size(20, "the data offset") / kSector * kSector;
  if (!all_data) {
    h.base_path = fields.text(28, 1024, "the base image's path");
    h.base_format = fields.text(1052, 16, "the base image's format");
    h.base_size = std::min(fields.size(1068, "the base image's size") / kSector * kSector, h.virtual_size);
    h.bitmap_offset = fields.size(1076, "the bitmap's offset");
    h.bitmap_size = fields.size(1084, "the bitmap's size");
    h.block_size = fields.count(1092, "the block size");
  }
  h.data_path = fields.text(1108, 1024, "the data file's path");
  h.data_format = fields.text(2132, 16, "the data file's format");
  h.compact = fields.flag(2208, "compact_image");
  if (h.compact) {
    h.table_offset = fields.size(2212, "the lookup table's offset");
    h.chunk_size = fields.size(2220, "the chunk size");
  }
  h.journal_size = fields.size(4292, "the journal's size") / kSector * kSector;
  if (h.journal_size != 0) h.journal_offset = fields.size(4284, "the journal's offset");
  h.clean = fields.flag(kCleanAt, "clean_shutdown");
  if (!fields.status().is_ok()) return fields.status();
  if (h.virtual_size == 0 || h.virtual_size % kSector != 0) {
    return corrupt("the virtual size is 0 or no multiple of 512");
  }
  if (!h.data_path.empty()) h.data_offset = 0;
  if (!all_data) {
    if (Status s = check_base(h); !s) return s;
  }
  if (h.compact) {
    if (Status s = check_table(h); !s) return s;
  }
  if (Status s = check_regions(h); !s) return s;
  return h;
}

}  // namespace fvd::format
