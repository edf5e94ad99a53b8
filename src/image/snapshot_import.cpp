#include "image/snapshot_import.h"

#include <algorithm>
#include <new>
#include <shared_mutex>
#include <utility>

#include "base/checked.h"
#include "image/transaction.h"
#include "map/block_bits.h"

namespace fvd {

using format::kChunkMask;
using format::kPartialFlag;
using format::kSharedFlag;
using format::SnapshotRecord;

Result<std::unique_ptr<SnapshotImport>> ImageImpl::import_snapshot(const ImportOptions& options) try {
  auto import = std::make_unique<SnapshotImporter>(*this, options);
  if (Status s = import->begin(); !s) return s;
  return std::unique_ptr<SnapshotImport>(std::move(import));
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

SnapshotImporter::~SnapshotImporter() {
  try {
    if (!over_) abandon();
  } catch (const std::bad_alloc&) {
    (void)image_.out_of_memory();  // the chunks count as in use until the next open
  }
  unpin();
}

void SnapshotImporter::abandon() {
  // After a failed switch nobody knows whether the snapshot is there: its chunks are left alone.
  if (image_.failed_.load(std::memory_order_acquire)) return;
  std::vector<std::uint32_t> chunks;
  state_.table.for_each_entry([&](std::uint32_t, std::uint32_t entry) {
    if (is_own(entry)) chunks.push_back(entry & kChunkMask);
  });
  if (chunks.empty()) return;
  image_.quarantine_.freed(chunks);
  image_.give_back_soon();  // operation_ is not ours: what is lent may be another operation's
}

void SnapshotImporter::unpin() {
  for (const SnapshotId id : std::exchange(pinned_, {})) image_.directory_.remove_reader(id);
}

Status SnapshotImporter::check_options() const {
  const std::uint64_t size = options_.virtual_size;
  if (Status s = format::check_snapshot_name(options_.name); !s) return s;
  if (options_.description.size() > kMaxDescriptionBytes) {
    return {Code::kInvalid, "a description has at most 4,096 bytes"};
  }
  if (size == 0 || size % kSectorSize != 0) {
    return {Code::kInvalid, "the size of a disk is a multiple of 512 bytes and not 0"};
  }
  if (size > format::kMaxVirtualSize || div_ceil(size, geometry_.chunk_size()) > format::kMaxVirtualChunks) {
    return {Code::kInvalid, "a disk of " + std::to_string(size) + " bytes is too large for chunks of " +
                                std::to_string(geometry_.chunk_size()) + " bytes"};
  }
  if (options_.created_nanoseconds >= 1000000000) return {Code::kInvalid, "a second has 10^9 nanoseconds"};
  return Status::ok();
}

Status SnapshotImporter::pin(SnapshotId id, const char* what) {
  if (id == 0) return Status::ok();
  if (!image_.directory_.add_reader(id)) return {Code::kNotFound, std::string("there is no such snapshot: ") + what};
  pinned_.push_back(id);
  return Status::ok();
}

Status SnapshotImporter::begin() {
  if (Status s = check_options(); !s) return s;
  if (Status s = image_.check_new_name(*image_.directory_.records(), options_.name); !s) return s;
  if (Status s = image_.begin_change(); !s) return s;
  if (Status s = pin(options_.parent, "the parent"); !s) return s;
  if (Status s = pin(options_.base, "the base"); !s) return s;
  const std::uint32_t chunks = geometry_.virtual_chunks(options_.virtual_size);
  if (options_.base != 0) return take_up_base(*image_.directory_.records()->find(options_.base));
  if (Status s = state_.table.resize(chunks); !s) return s;
  hide_base_image(0);
  return Status::ok();
}

// From virtual chunk `first` on, what nothing was written to reads as zeros. Entries that are EMPTY and stay so are
// left alone: to store them would take memory for a disk of any size.
void SnapshotImporter::hide_base_image(std::uint32_t first) {
  const std::shared_lock gate(image_.gate_);  // flattening may be about to let go of it
  if (image_.base_ == nullptr) return;
  const std::uint64_t end =
      std::min<std::uint64_t>(state_.table.size(), div_ceil(image_.base_->size(), geometry_.chunk_size()));
  for (std::uint32_t v = first; v < end; ++v) state_.table.store(v, format::kZero);
}

Status SnapshotImporter::take_up_base(const SnapshotRecord& base) {
  const std::uint32_t chunks = geometry_.virtual_chunks(options_.virtual_size);
  const std::uint32_t base_chunks = geometry_.virtual_chunks(base.virtual_size);
  if (Status s = state_.table.resize(std::max(chunks, base_chunks)); !s) return s;
  if (Status s = image_.load_table(base.table, state_, "the table of snapshot " + base.name); !s) return s;
  state_.share_all();
  hide_base_image(base_chunks);
  for (std::uint32_t v = chunks; v < base_chunks; ++v) {
    if (state_.table.load(v) != format::kEmpty) unmap(v);
  }
  if (Status s = state_.table.resize(chunks); !s) return s;
  // Whoever goes to the snapshot and grows the disk must see zeros past its end.
  const std::uint64_t end = std::min(base.virtual_size, std::uint64_t{chunks} << geometry_.chunk_log2);
  if (options_.virtual_size >= end) return Status::ok();
  return put(chunks - 1, options_.virtual_size & (geometry_.chunk_size() - 1), {{}, end - options_.virtual_size});
}

Status SnapshotImporter::check_range(std::uint64_t offset, std::uint64_t length) const {
  if (over_) return {Code::kInvalid, "the import is over"};
  if (offset > options_.virtual_size || length > options_.virtual_size - offset) {
    return {Code::kInvalid, "past the end of the snapshot's disk"};
  }
  return image_.check_writable();
}

Status SnapshotImporter::write(std::uint64_t offset, std::span<const std::byte> data) try {
  const std::lock_guard lock(mutex_);
  if (Status s = check_range(offset, data.size()); !s) return s;
  while (!data.empty()) {
    const std::uint64_t within = offset & (geometry_.chunk_size() - 1);
    const std::size_t length = std::min<std::uint64_t>(data.size(), geometry_.chunk_size() - within);
    const auto v = static_cast<std::uint32_t>(offset >> geometry_.chunk_log2);
    if (Status s = put(v, within, {data.first(length), length}); !s) return s;
    offset += length;
    data = data.subspan(length);
  }
  return Status::ok();
} catch (const std::bad_alloc&) {
  return image_.out_of_memory();
}

Status SnapshotImporter::discard(std::uint64_t offset, std::uint64_t length) try {
  const std::lock_guard lock(mutex_);
  if (Status s = check_range(offset, length); !s) return s;
  for (const std::uint64_t end = offset + length; offset < end;) {
    const auto v = static_cast<std::uint32_t>(offset >> geometry_.chunk_log2);
    const std::uint64_t start = std::uint64_t{v} << geometry_.chunk_log2;
    const std::uint64_t in_use = std::min(geometry_.chunk_size(), options_.virtual_size - start);
    const std::uint64_t piece = std::min(end - offset, start + in_use - offset);
    const auto is_unmapped = [&] {
      const std::shared_lock gate(image_.gate_);
      return state_.table.load(v) == image_.unmapped_entry(v);
    };
    if (!is_unmapped()) {
      if (piece == in_use) {
        const std::shared_lock gate(image_.gate_);
        unmap(v);
      } else if (Status s = put(v, offset - start, {{}, piece}); !s) {
        return s;
      }
    }
    offset += piece;
  }
  return Status::ok();
} catch (const std::bad_alloc&) {
  return image_.out_of_memory();
}

Status SnapshotImporter::put(std::uint32_t v, std::uint64_t offset, const Payload& payload) {
  Status s = put_once(v, offset, payload);
  if (s.code() != Code::kNoSpace) return s;
  if (Status found = image_.find_space(); !found) return found;
  return put_once(v, offset, payload);
}

Status SnapshotImporter::put_once(std::uint32_t v, std::uint64_t offset, const Payload& payload) {
  const std::shared_lock gate(image_.gate_);  // the base image stays meanwhile
  Mapping mapping;
  mapping.entry = state_.table.load(v);
  if (is_own_complete(mapping.entry)) return image_.put(v, mapping.entry, offset, payload);
  if (is_own(mapping.entry)) return put_into_partial(v, mapping.entry, offset, payload);
  mapping.entry &= ~kSharedFlag;
  if ((mapping.entry & kPartialFlag) != 0) {
    const PartialMap::Entry shared = state_.stripe(v).partials.find(v);
    mapping.origin = *shared.origin;
    std::copy(shared.words.begin(), shared.words.end(), mapping.words.begin());
  }
  if (Status s = image_.build_chunk(v, offset, payload, &mapping); !s) return s;
  replace(v, mapping.entry, (mapping.entry & kPartialFlag) != 0 ? &mapping : nullptr);
  return Status::ok();
}

Status SnapshotImporter::put_into_partial(std::uint32_t v, std::uint32_t entry, std::uint64_t offset,
                                          const Payload& payload) {
  const std::uint32_t chunk = entry & kChunkMask;
  const PartialMap::Entry partial = state_.stripe(v).partials.find(v);
  if (Status s = image_.fill_edges(v, chunk, *partial.origin, partial.words, offset, payload.length); !s) return s;
  if (Status s = image_.put(v, chunk, offset, payload); !s) return s;
  const std::uint64_t end = align_up(offset + payload.length, geometry_.block_size());
  set_blocks(partial.words, static_cast<std::uint32_t>(offset >> geometry_.block_log2),
             static_cast<std::uint32_t>(end >> geometry_.block_log2));
  if (count_blocks(partial.words) == geometry_.blocks_per_chunk()) replace(v, chunk);
  return Status::ok();
}

void SnapshotImporter::unmap(std::uint32_t v) {
  const std::uint32_t old = state_.table.load(v);
  replace(v, image_.unmapped_entry(v));
  // Nothing on the disk names it, so no commit need be waited for.
  if (is_own(old)) image_.quarantine_.freed({old & kChunkMask});
}

void SnapshotImporter::replace(std::uint32_t v, std::uint32_t entry, const Mapping* partial) {
  PartialMap& partials = state_.stripe(v).partials;
  partials.erase(v);
  state_.table.store(v, entry);
  if (partial == nullptr) return;
  const PartialMap::Entry record = partials.insert(v, partial->origin);
  std::copy_n(partial->words.begin(), record.words.size(), record.words.begin());
}

Result<SnapshotId> SnapshotImporter::commit() try {
  const std::lock_guard lock(mutex_);
  if (Status s = check_range(0, 0); !s) return s;
  const std::lock_guard operation(image_.operation_);
  TableCapture capture(geometry_);
  capture.prepare(state_);
  capture.take(state_, false);
  capture.finish(options_.virtual_size);
  SnapshotRecord record;
  record.parent = options_.parent;
  record.virtual_size = options_.virtual_size;
  record.created_seconds = options_.created_seconds;
  record.created_nanoseconds = options_.created_nanoseconds;
  record.mapped_bytes = std::uint64_t{capture.mapped()} << geometry_.chunk_log2;
  record.name = options_.name;
  record.description = options_.description;
  if (Status s = image_.add_record(&record, capture); !s) return s;
  over_ = true;
  unpin();
  return record.id;
} catch (const std::bad_alloc&) {
  return image_.out_of_memory();
}

Status ImageImpl::add_record(SnapshotRecord* record, const TableCapture& capture) {
  if (Status s = check_writable(); !s) return s;
  if (Status s = check_new_name(*directory_.records(), record->name); !s) return s;
  if (Status s = make_room(); !s) return s;
  Transaction transaction(*this, Transaction::Epoch::kSame);
  Status s = transaction.add_snapshot(record, capture, reached_by(capture));
  if (s.is_ok()) s = transaction.commit();
  if (s.is_ok()) after_operation();
  return s;
}

}  // namespace fvd
