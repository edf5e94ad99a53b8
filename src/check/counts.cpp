// Checker: each stored count against the snapshots that reach the chunk.
#include "base/endian.h"
#include "check/checker.h"
#include "format/object.h"
#include "format/refcount.h"

namespace fvd {

void Checker::check_counts() {
  std::vector<std::byte> object;
  std::uint32_t stored = 0;
  if (!superblock_.refcounts.is_none()) {
    auto bytes = read_object(superblock_.refcounts, "refcounts", "the reference-count table",
                             format::RefcountHeader{limit_ + 1}.length(), Mend::kCounts);
    if (!bytes) return;
    object = std::move(*bytes);
    if (Status s = format::verify_object(object, format::kRefcountMagic, superblock_.refcounts); !s) {
      corrupt("refcounts", s.message(), Mend::kCounts);
      return;
    }
    const auto header = format::RefcountHeader::decode(object, object.size(), limit_);
    if (!header) {
      corrupt("refcounts", header.status().message(), Mend::kCounts);
      return;
    }
    stored = header->count;
  }
  const auto stored_count = [&](std::uint32_t chunk) -> std::uint16_t {
    if (chunk >= stored) return 0;
    return load_le<std::uint16_t>(object.data() + format::kObjectHeader + std::size_t{chunk} * 2);
  };
  if (stored_count(0) != 0) {
    corrupt("refcounts", "the unused count of chunk 0 is not zero", Mend::kCounts);
  }
  for (std::uint32_t c = 1; c <= limit_; ++c) {
    const std::uint16_t have = stored_count(c);
    if (have != 0 && use_[c].metadata) {
      corrupt("refcounts", "chunk " + std::to_string(c) + " holds metadata and is counted as a snapshot's",
              Mend::kCounts);
      continue;
    }
    if (!tables_complete_ || have == use_[c].count) continue;
    const std::string what = "chunk " + std::to_string(c) + " is counted " + std::to_string(have) +
                             " times and reached by " + std::to_string(use_[c].count) + " snapshots";
    if (have < use_[c].count) {
      corrupt("refcounts", what + ": it could be overwritten", Mend::kCounts);
    } else {
      leak("refcounts", what);
    }
  }
}

}  // namespace fvd
