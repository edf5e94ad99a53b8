#include "check/checker.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "format/object.h"
#include "format/refcount.h"

namespace fvd {

using format::kChunkMask;
using format::kPage;
using format::kPartialFlag;
using format::ObjectRef;
using format::SnapshotRecord;
using format::Superblock;
using format::TableView;

namespace {

constexpr std::size_t kMaxFindings = 1000;
constexpr std::uint64_t kLongestDirectory = 64 + 65535ULL * (SnapshotRecord::kFixedSize + 255 + 4096 + 7);

bool is_chunk(std::uint32_t word) {
  const std::uint32_t chunk = word & kChunkMask;
  return chunk != format::kEmpty && chunk != format::kZero;
}

// One number for origin and bitmap, so that two tables that name the same partial chunk can be compared.
std::uint32_t shape_of(std::uint32_t origin, std::span<const std::byte> bitmap) {
  std::array<std::byte, 4> bytes;
  store_le(bytes.data(), origin);
  return crc32c(bitmap, crc32c(bytes)) & 0xFFFFFF;
}

}  // namespace

void Checker::corrupt(const char* structure, std::string message) {
  ++report_.corruptions;
  if (report_.findings.size() < kMaxFindings) {
    report_.findings.push_back({CheckFinding::Kind::kCorruption, structure, std::move(message)});
  }
}

void Checker::leak(const char* structure, std::string message) {
  ++report_.leaks;
  if (report_.findings.size() < kMaxFindings) {
    report_.findings.push_back({CheckFinding::Kind::kLeak, structure, std::move(message)});
  }
}

Result<CheckReport> Checker::run() {
  std::array<std::byte, format::Header::kSize> page;
  if (Status s = file_.read(0, page); !s) return s;
  auto header = format::Header::decode(page);
  if (!header) {
    if (header.code() != Code::kCorrupt) return header.status();
    corrupt("header", header.status().message());
    return report_;
  }
  header_ = *header;
  geometry_ = header_.geometry();
  auto size = file_.size();
  if (!size) return size.status();
  if (*size < header_.data_offset) {
    corrupt("header", "the file ends before its data region (" + std::to_string(*size) + " bytes; the data begins at " +
                          std::to_string(header_.data_offset) + ")");
  }
  file_size_ = *size;
  limit_ = geometry_.chunks_in(*size);
  report_.chunks_total = limit_;
  const bool chosen = choose_superblock();
  if (!io_error_.is_ok()) return io_error_;
  if (!chosen) return report_;
  use_.reset(static_cast<ChunkUse*>(std::calloc(std::size_t{limit_} + 1, sizeof(ChunkUse))));
  if (use_ == nullptr) return Status(Code::kIo, "not enough memory to check a file of this size");
  check_directory();
  check_tables();
  check_front();
  check_counts();
  if (!io_error_.is_ok()) return io_error_;
  for (std::uint32_t c = 1; c <= limit_; ++c) {
    const ChunkUse& use = use_[c];
    report_.chunks_used += use.metadata || use.complete || use.partial || use.origin ? 1 : 0;
  }
  return report_;
}

bool Checker::choose_superblock() {
  std::optional<Superblock> best;
  std::string why;
  for (const std::uint64_t offset : header_.superblock_offset) {
    std::array<std::byte, Superblock::kSize> page;
    if (Status s = file_.read(offset, page); !s) {
      io_error_ = s;
      return false;
    }
    auto decoded = Superblock::decode(page, offset, header_.uuid, geometry_);
    if (decoded.code() == Code::kUnsupported) {
      io_error_ = decoded.status();
      return false;
    }
    if (!decoded) {
      // One that is unwritten or torn is no damage as long as the other is whole; one with a right CRC was written so.
      if (std::any_of(page.begin(), page.end(), [](std::byte b) { return b != std::byte{0}; })) {
        why = decoded.status().message();
        if (load_le<std::uint32_t>(page.data() + 12) == crc32c(std::span<const std::byte>(page).subspan(16))) {
          corrupt("superblock", why);
        }
      }
      continue;
    }
    if (best && best->sequence == decoded->sequence) corrupt("superblock", "both superblocks have the same sequence");
    if (!best || decoded->sequence > best->sequence) best = std::move(*decoded);
  }
  if (!best) {
    corrupt("superblock", "neither superblock is valid" + (why.empty() ? "" : " (" + why + ")"));
    return false;
  }
  superblock_ = std::move(*best);
  report_.clean = (superblock_.flags & Superblock::kFlagClean) != 0;
  report_.snapshots = superblock_.snapshot_count;
  return true;
}

std::optional<std::vector<std::byte>> Checker::read_object(const ObjectRef& ref, const char* structure,
                                                           const std::string& what, std::uint64_t longest, bool claim) {
  if (Status s = geometry_.check_ref(ref, limit_, what); !s) {
    corrupt(structure, s.message());
    return std::nullopt;
  }
  if (claim) {
    for (std::uint32_t c = ref.first_chunk; c < ref.first_chunk + geometry_.object_chunks(ref.length); ++c) {
      if (use_[c].metadata) {
        corrupt(structure, what + " lies over another structure in chunk " + std::to_string(c));
        break;
      }
      use_[c].metadata = true;
    }
  }
  if (ref.length > longest) {
    corrupt(structure, what + " is longer than it can be (" + std::to_string(ref.length) + " bytes)");
    return std::nullopt;
  }
  std::vector<std::byte> bytes(ref.length);
  if (Status s = file_.read(geometry_.file_offset(ref.first_chunk), bytes); !s) {
    io_error_ = s;
    return std::nullopt;
  }
  return bytes;
}

// The longest table object for a disk of that size. A stored page or record is never all zeros, so that one longer than
// a gigabyte has its bytes allocated by the host (compressed, perhaps): a hostile hole costs no memory.
std::uint64_t Checker::longest_table(std::uint64_t virtual_size) const {
  const std::uint64_t entries = div_ceil(virtual_size, geometry_.chunk_size());
  const std::uint64_t longest = 2 * kPage + (entries + kPage) * (4 + 1 + 8 + geometry_.bitmap_bytes());
  const auto allocated = file_.allocated();
  const std::uint64_t host = allocated ? std::min<std::uint64_t>(*allocated, file_size_) : file_size_;
  return std::min(longest, std::max<std::uint64_t>(1ULL << 30, 64 * host));
}

void Checker::check_directory() {
  if (!superblock_.directory.is_none()) {
    const auto object =
        read_object(superblock_.directory, "directory", "the snapshot directory", kLongestDirectory, true);
    if (object) {
      auto records =
          format::decode_directory(*object, superblock_.directory, geometry_, limit_, superblock_.next_snapshot_id);
      if (records) {
        records_ = std::move(*records);
      } else {
        corrupt("directory", records.status().message());
        tables_complete_ = false;
        return;
      }
    } else {
      tables_complete_ = false;
      return;
    }
  }
  if (records_.size() != superblock_.snapshot_count) {
    corrupt("superblock", "it counts " + std::to_string(superblock_.snapshot_count) +
                              " snapshots, the directory holds " + std::to_string(records_.size()));
  }
  const bool parent_exists = std::any_of(records_.begin(), records_.end(),
                                         [&](const SnapshotRecord& r) { return r.id == superblock_.parent; });
  if (superblock_.parent != 0 && !parent_exists) {
    corrupt("superblock", "the parent of current-state (id " + std::to_string(superblock_.parent) + ") does not exist");
  }
}

void Checker::count(ChunkUse& use, std::uint32_t snapshot) {
  if (snapshot == 0 || use.counted_for == snapshot) return;
  use.counted_for = static_cast<std::uint16_t>(snapshot);
  if (use.count != 0xFFFF) ++use.count;
}

void Checker::use_data(std::uint32_t chunk, bool partial, std::uint32_t shape, std::uint32_t snapshot,
                       const std::string& state) {
  ChunkUse& use = use_[chunk];
  const std::string name = "chunk " + std::to_string(chunk);
  if (use.metadata) corrupt("data", name + " holds metadata, and " + state + " names it as data");
  if (partial) {
    if (use.complete) corrupt("data", name + " is complete in one state and partial in " + state);
    if (use.origin) corrupt("data", name + " is an origin and partial in " + state);
    if (use.partial && use.shape != shape) {
      corrupt("data", name + " has another origin or other blocks in " + state + " than elsewhere");
    }
    use.partial = true;
    use.shape = shape & 0xFFFFFF;
  } else {
    if (use.partial) corrupt("data", name + " is partial in one state and complete in " + state);
    use.complete = true;
  }
  count(use, snapshot);
}

void Checker::use_origin(std::uint32_t chunk, std::uint32_t snapshot, const std::string& state) {
  ChunkUse& use = use_[chunk];
  const std::string name = "chunk " + std::to_string(chunk);
  if (use.metadata) corrupt("data", name + " holds metadata, and " + state + " names it as an origin");
  if (use.partial) corrupt("data", name + " is partial, and " + state + " names it as an origin");
  use.origin = true;
  count(use, snapshot);
}

void Checker::check_tables() {
  // All structures first: whatever a state names must not be one of them.
  bool base_is_a_snapshots = false;
  const auto claim = [&](const ObjectRef& ref, const std::string& what) {
    if (ref.is_none() || !geometry_.check_ref(ref, limit_, what)) return;  // reported when it is read
    for (std::uint32_t c = ref.first_chunk; c < ref.first_chunk + geometry_.object_chunks(ref.length); ++c) {
      if (use_[c].metadata) {
        corrupt("table", what + " lies over another structure in chunk " + std::to_string(c));
        return;
      }
      use_[c].metadata = true;
    }
  };
  for (const SnapshotRecord& r : records_) {
    claim(r.table, "the table of snapshot " + r.name);
    base_is_a_snapshots = base_is_a_snapshots || r.table == superblock_.table;
  }
  if (!base_is_a_snapshots) claim(superblock_.table, "the base table");
  claim(superblock_.refcounts, "the reference-count table");

  std::uint32_t number = 0;
  for (const SnapshotRecord& r : records_) {
    ++number;
    const std::string state = "snapshot " + r.name;
    std::uint64_t mapped = 0;
    if (!r.table.is_none()) {
      const auto object = read_object(r.table, "table", "the table of " + state, longest_table(r.virtual_size), false);
      if (!object) {
        tables_complete_ = false;
        continue;
      }
      const auto table = TableView::parse(*object, r.table, geometry_, limit_);
      if (!table) {
        corrupt("table", state + ": " + table.status().message());
        tables_complete_ = false;
        continue;
      }
      if (table->header().virtual_size != r.virtual_size) {
        corrupt("table", state + ": the table is for another virtual size than the directory says");
      }
      std::uint32_t next_partial = 0;
      table->for_each_entry([&](std::uint32_t, std::uint32_t entry) {
        if (!is_chunk(entry)) return;
        ++mapped;
        if ((entry & kPartialFlag) == 0) {
          use_data(entry & kChunkMask, false, 0, number, state);
          return;
        }
        const format::PartialRecord partial = table->partial(next_partial++);
        use_data(entry & kChunkMask, true, shape_of(partial.origin, partial.bitmap), number, state);
        if (is_chunk(partial.origin)) use_origin(partial.origin, number, state);
      });
    }
    if (mapped << geometry_.chunk_log2 != r.mapped_bytes) {
      corrupt("directory", state + " is said to map " + std::to_string(r.mapped_bytes) + " bytes, its table maps " +
                               std::to_string(mapped << geometry_.chunk_log2));
    }
  }
}

void Checker::replay(std::uint32_t virtual_chunks) {
  const std::uint64_t start = header_.journal_offset + (superblock_.epoch & 1) * header_.journal_half_size;
  std::uint64_t offset = 0;
  std::uint64_t sequence = 1;
  std::uint32_t previous = 0;
  std::vector<std::byte> bytes;
  const auto read = [&](std::uint64_t length) {
    bytes.resize(length);
    if (Status s = file_.read(start + offset, bytes); !s) io_error_ = s;
    return io_error_.is_ok();
  };
  while (offset + kPage <= header_.journal_half_size && start + offset < file_size_) {
    if (!read(kPage)) return;
    const std::uint64_t left = std::min(header_.journal_half_size - offset, file_size_ - start - offset);
    format::JournalBatch batch;
    if (!format::decode_batch_header(bytes, superblock_.epoch, superblock_.journal_salt, sequence, previous, left,
                                     &batch)) {
      break;
    }
    if (batch.length > kPage && !read(batch.length)) return;
    if (!format::batch_crc_is_right(bytes, batch)) break;
    const Status s =
        format::for_each_record(bytes, batch, geometry_, virtual_chunks, limit_, [&](const format::JournalRecord& r) {
          ++report_.journal_records;
          FrontEntry entry{r.entry, r.origin, 0};
          if ((r.entry & kPartialFlag) != 0) {
            std::vector<std::byte> bitmap(geometry_.bitmap_bytes());
            for (std::size_t w = 0; w < r.words.size(); ++w) {
              store_le(bitmap.data() + (r.first_word + w) * 8, r.words[w]);
            }
            entry.shape = shape_of(r.origin, bitmap);
          }
          journaled_[r.virtual_chunk] = entry;
        });
    if (!s) {
      corrupt("journal", s.message());
      return;
    }
    offset += align_up(batch.length, kPage);
    ++sequence;
    previous = batch.crc;
  }
  if (offset != 0) report_.clean = false;
}

void Checker::use_front(std::uint32_t entry, std::uint32_t origin, std::uint32_t shape) {
  if (!is_chunk(entry)) return;
  // A chunk that no snapshot reaches is the front's to change; one that a snapshot reaches has one shape everywhere.
  const bool partial = (entry & kPartialFlag) != 0;
  use_data(entry & kChunkMask, partial, shape, 0, "current-state");
  if (partial && is_chunk(origin)) use_origin(origin, 0, "current-state");
}

void Checker::check_front() {
  replay(geometry_.virtual_chunks(superblock_.virtual_size));
  for (const auto& [v, mapping] : journaled_) use_front(mapping.entry, mapping.origin, mapping.shape);
  if (superblock_.table.is_none()) return;
  const auto object =
      read_object(superblock_.table, "table", "the base table", longest_table(superblock_.virtual_size), false);
  if (!object) return;
  const auto table = TableView::parse(*object, superblock_.table, geometry_, limit_);
  if (!table) {
    corrupt("table", "the base table: " + table.status().message());
    return;
  }
  if (table->header().virtual_size > superblock_.virtual_size) {
    corrupt("table", "the base table is larger than the disk");
    return;
  }
  std::uint32_t next_partial = 0;
  table->for_each_entry([&](std::uint32_t v, std::uint32_t entry) {
    const bool partial = (entry & kPartialFlag) != 0;
    const format::PartialRecord record = partial ? table->partial(next_partial++) : format::PartialRecord{};
    if (journaled_.contains(v)) return;
    use_front(entry, record.origin, partial ? shape_of(record.origin, record.bitmap) : 0);
  });
}

void Checker::check_counts() {
  std::vector<std::byte> object;
  std::uint32_t stored = 0;
  if (!superblock_.refcounts.is_none()) {
    auto bytes = read_object(superblock_.refcounts, "refcounts", "the reference-count table",
                             format::RefcountHeader{limit_ + 1}.length(), false);
    if (!bytes) return;
    object = std::move(*bytes);
    if (Status s = format::verify_object(object, format::kRefcountMagic, superblock_.refcounts); !s) {
      corrupt("refcounts", s.message());
      return;
    }
    const auto header = format::RefcountHeader::decode(object, object.size(), limit_);
    if (!header) {
      corrupt("refcounts", header.status().message());
      return;
    }
    stored = header->count;
  }
  const auto stored_count = [&](std::uint32_t chunk) -> std::uint16_t {
    if (chunk >= stored) return 0;
    return load_le<std::uint16_t>(object.data() + format::kObjectHeader + std::size_t{chunk} * 2);
  };
  if (stored_count(0) != 0) corrupt("refcounts", "the unused count of chunk 0 is not zero");
  for (std::uint32_t c = 1; c <= limit_; ++c) {
    const std::uint16_t have = stored_count(c);
    if (have != 0 && use_[c].metadata) {
      corrupt("refcounts", "chunk " + std::to_string(c) + " holds metadata and is counted as a snapshot's");
      continue;
    }
    if (!tables_complete_ || have == use_[c].count) continue;
    const std::string what = "chunk " + std::to_string(c) + " is counted " + std::to_string(have) +
                             " times and reached by " + std::to_string(use_[c].count) + " snapshots";
    if (have < use_[c].count) {
      corrupt("refcounts", what + ": it could be overwritten");
    } else {
      leak("refcounts", what);
    }
  }
}

}  // namespace fvd
