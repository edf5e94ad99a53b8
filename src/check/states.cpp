// Checker: the snapshot directory, and every chunk that a snapshot's table names.
#include <algorithm>

#include "check/checker.h"
#include "check/words.h"

namespace fvd {

using format::kChunkMask;
using format::kPartialFlag;
using format::SnapshotRecord;
using format::TableView;

void Checker::check_directory() {
  claim(superblock_.directory, "directory", "the snapshot directory");
  if (!superblock_.directory.is_none()) {
    const auto object =
        read_object(superblock_.directory, "directory", "the snapshot directory", format::kLongestDirectory);
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
    corrupt("superblock",
            "it counts " + std::to_string(superblock_.snapshot_count) + " snapshots, the directory holds " +
                std::to_string(records_.size()),
            Mend::kSuperblock);
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
  bytes_to_read_ = bytes_read_;
  for (const SnapshotRecord& r : records_) expect_to_read(r.table);
  expect_to_read(superblock_.table);
  expect_to_read(superblock_.refcounts);
  for (const SnapshotRecord& r : records_) {
    claim(r.table, "table", "the table of snapshot " + r.name);
    base_is_a_snapshots = base_is_a_snapshots || r.table == superblock_.table;
  }
  if (!base_is_a_snapshots) claim(superblock_.table, "table", "the base table");
  claim(superblock_.refcounts, "refcounts", "the reference-count table", Mend::kCounts);
  std::uint32_t number = 0;
  for (const SnapshotRecord& r : records_) check_snapshot(r, ++number);
}

void Checker::check_snapshot(const SnapshotRecord& r, std::uint32_t number) {
  const std::string state = "snapshot " + r.name;
  std::uint64_t mapped = 0;
  if (!r.table.is_none()) {
    const auto object =
        read_object(r.table, "table", "the table of " + state, format::TableHeader::longest(geometry_, r.virtual_size));
    if (!object) {
      tables_complete_ = false;
      return;
    }
    const auto table = TableView::parse(*object, r.table, geometry_, limit_);
    if (!table) {
      corrupt("table", state + ": " + table.status().message());
      tables_complete_ = false;
      return;
    }
    if (table->header().virtual_size != r.virtual_size) {
      corrupt("table", state + ": the table is for another virtual size (" +
                           std::to_string(table->header().virtual_size) + " bytes) than the directory says (" +
                           std::to_string(r.virtual_size) + ")");
    }
    std::uint32_t next_partial = 0;
    table->for_each_entry([&](std::uint32_t, std::uint32_t entry) {
      if (!names_a_chunk(entry)) return;
      ++mapped;
      if ((entry & kPartialFlag) == 0) {
        use_data(entry & kChunkMask, false, 0, number, state);
        return;
      }
      const format::PartialRecord partial = table->partial(next_partial++);
      use_data(entry & kChunkMask, true, shape_of(partial.origin, partial.bitmap), number, state);
      if (names_a_chunk(partial.origin)) use_origin(partial.origin, number, state);
    });
  }
  mapped_bytes_[r.id] = mapped << geometry_.chunk_log2;
  if (mapped_bytes_[r.id] != r.mapped_bytes) {
    corrupt("directory",
            state + " is said to map " + std::to_string(r.mapped_bytes) + " bytes, its table maps " +
                std::to_string(mapped_bytes_[r.id]),
            Mend::kDirectory);
  }
}

}  // namespace fvd
