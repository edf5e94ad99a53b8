// Discarding, preallocating, resizing, and copying by sharing.
#include <algorithm>
#include <new>
#include <shared_mutex>
#include <vector>

#include "image/front_map.h"
#include "image/image_impl.h"
#include "image/snapshot_view.h"

namespace fvd {

using format::kChunkMask;
using format::kEmpty;
using format::kPartialFlag;
using format::kSharedFlag;
using format::kZero;
using format::Superblock;

Status ImageImpl::discard(std::uint64_t offset, std::uint64_t length) try {
  if (Status s = check_writable(); !s) return s;
  const std::uint64_t size = virtual_size();
  if (offset >= size) return Status::ok();
  length = std::min(length, size - offset);
  guest_discard_bytes_.fetch_add(length, std::memory_order_relaxed);
  return discard_range(offset, offset + length, size);
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status ImageImpl::discard_range(std::uint64_t offset, std::uint64_t end, std::uint64_t disk_end) {
  while (offset < end) {
    // The gate is passed anew for each chunk: a whole disk can be discarded in one call.
    const std::shared_lock gate(gate_);
    const auto v = static_cast<std::uint32_t>(offset >> geometry_.chunk_log2);
    if (v >= front_.table.size()) break;  // the disk was made smaller meanwhile
    const std::uint64_t within = offset & (geometry_.chunk_size() - 1);
    std::uint64_t piece = std::min(end - offset, geometry_.chunk_size() - within);
    if (front_.table.load(v) == unmapped_entry(v)) {
      // Long holes are the common case; step over them by a cheap scan.
      std::uint32_t next = v + 1;
      while (offset + piece < end && next < front_.table.size() && front_.table.load(next) == unmapped_entry(next)) {
        piece = std::min(end - offset, piece + geometry_.chunk_size());
        ++next;
      }
    } else if (Status s = discard_piece(v, within, piece, disk_end); !s) {
      return s;
    }
    offset += piece;
  }
  return Status::ok();
}

Status ImageImpl::discard_piece(std::uint32_t v, std::uint64_t offset, std::uint64_t length, std::uint64_t disk_end) {
  const std::uint64_t chunk_start = std::uint64_t{v} << geometry_.chunk_log2;
  const std::uint64_t in_use = std::min(geometry_.chunk_size(), disk_end - chunk_start);
  if (offset == 0 && length >= in_use) {
    // Over a base image what is unmapped has an entry of its own.
    if (Status s = base_ == nullptr ? begin_shorter_change() : begin_change(); !s) return s;
    const std::lock_guard stripe(front_.stripe(v).mutex);
    replace_mapping(v, unmapped_entry(v));
    return Status::ok();
  }
  return write_mapped(v, offset, {{}, length});
}

Status ImageImpl::preallocate(std::uint64_t offset, std::uint64_t length) try {
  if (Status s = begin_change(); !s) return s;
  const std::uint64_t size = virtual_size();
  if (offset >= size) return Status::ok();
  const std::uint64_t end = offset + std::min(length, size - offset);
  for (std::uint64_t at = offset; at < end; at = ((at >> geometry_.chunk_log2) + 1) << geometry_.chunk_log2) {
    const std::shared_lock gate(gate_);
    const auto v = static_cast<std::uint32_t>(at >> geometry_.chunk_log2);
    if (v >= front_.table.size()) break;
    const std::lock_guard stripe(front_.stripe(v).mutex);
    const std::uint32_t entry = front_.table.load(v);
    // What a snapshot holds is not copied ahead of need; neither is a base image.
    if ((entry & kSharedFlag) != 0 || (entry & kPartialFlag) != 0) continue;
    if (entry == kEmpty && unmapped_entry(v) == kZero) continue;
    std::uint32_t chunk = entry;
    if (!names_chunk(entry)) {
      if (Status s = begin_change(); !s) return s;
      auto allocated = allocate_data(true);
      if (!allocated) return allocated.status();
      chunk = *allocated;
    }
    storage_.only_a_sync_helps();
    if (Status s = storage_.file().reserve(geometry_.file_offset(chunk), geometry_.chunk_size()); !s) {
      if (chunk != entry) allocator_.release(chunk, 1, false);
      return s;
    }
    if (chunk != entry) replace_mapping(v, chunk);
  }
  return Status::ok();
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status ImageImpl::resize(std::uint64_t new_size, bool allow_shrink) try {
  const std::lock_guard operation(operation_);
  if (Status s = begin_change(); !s) return s;
  const std::uint64_t old_size = virtual_size();
  if (new_size % kSectorSize != 0 || new_size == 0) {
    return {Code::kInvalid, "the size of a disk is a multiple of 512 bytes and not 0"};
  }
  const std::uint64_t chunks = (new_size + geometry_.chunk_size() - 1) >> geometry_.chunk_log2;
  if (new_size > format::kMaxVirtualSize || chunks > format::kMaxVirtualChunks) {
    return {Code::kInvalid, "the disk cannot be larger than 64 TiB, nor than 268,435,456 chunks"};
  }
  if (new_size == old_size) return Status::ok();
  if (new_size < old_size) {
    if (!allow_shrink) {
      return {Code::kNotPermitted,
              "shrinking a disk gives up what is past its new end; mount with -o shrink to allow it"};
    }
    return shrink(new_size);
  }
  if (base_ != nullptr && old_size < base_->size()) return grow_over_base(new_size);
  if (Status s = resize_table(new_size); !s) return s;
  Superblock next = next_superblock(false);
  next.virtual_size = new_size;
  if (Status s = write_superblock(std::move(next)); !s) return s;
  set_virtual_size(new_size);
  return Status::ok();
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

void ImageImpl::set_virtual_size(std::uint64_t size) {
  const std::unique_lock gate(gate_);
  virtual_size_.store(size, std::memory_order_release);
}

Status ImageImpl::resize_table(std::uint64_t virtual_size) {
  // Commits read the table without passing the gate.
  const std::lock_guard leadership(commits_);
  const std::unique_lock gate(gate_);
  return front_.table.resize(geometry_.virtual_chunks(virtual_size));
}

Status ImageImpl::switch_size(std::uint64_t virtual_size) {
  return despite_writers([&](Writers writers) { return switch_table(virtual_size, false, Room::kFree, writers); });
}

// A disk that was made smaller than its base image shows zeros when it grows again, not the base.
Status ImageImpl::grow_over_base(std::uint64_t new_size) {
  const std::uint32_t old_chunks = geometry_.virtual_chunks(virtual_size());
  if (Status s = resize_table(new_size); !s) return s;
  for (std::uint32_t v = old_chunks; v < front_.table.size(); ++v) {
    const std::lock_guard stripe(front_.stripe(v).mutex);
    front_.table.store(v, unmapped_entry(v));  // nobody reaches it yet, and the table being written holds it
  }
  if (Status s = switch_size(new_size); !s) {
    (void)resize_table(virtual_size());
    return s;
  }
  set_virtual_size(new_size);
  return Status::ok();
}

Status ImageImpl::shrink(std::uint64_t new_size) {
  const std::uint64_t old_size = virtual_size();
  // From here on nothing is written past the new end. What is cut off is discarded and committed, so that growing
  // again shows zeros and no chunk is freed before its mapping is gone; then a new base table of the new size replaces
  // the journal, whose records name chunks past the end.
  set_virtual_size(new_size);
  Status s = discard_range(new_size, old_size, old_size);
  if (s.is_ok()) s = commit_all();
  if (s.is_ok()) s = resize_table(new_size);
  if (s.is_ok()) {
    s = switch_size(new_size);
    if (!s && !resize_table(old_size)) return s;
    if (!s) {
      for (std::uint32_t v = geometry_.virtual_chunks(new_size); v < front_.table.size(); ++v) {
        front_.table.store(v, unmapped_entry(v));
      }
    }
  }
  if (!s) set_virtual_size(old_size);
  return s;
}

Result<std::uint64_t> ImageImpl::copy_range(SnapshotId source, std::uint64_t src_offset, std::uint64_t dst_offset,
                                            std::uint64_t length) try {
  if (Status s = begin_change(); !s) return s;
  std::unique_ptr<SnapshotView> view;
  std::uint64_t src_size = virtual_size();
  const auto unpin = [this](const std::uint32_t* id) { directory_.remove_reader(*id); };
  std::unique_ptr<const std::uint32_t, decltype(unpin)> pin(nullptr, unpin);
  if (source != 0) {
    const auto record = directory_.add_reader(source);
    if (!record) return Status(Code::kNotFound, "no such snapshot");
    pin.reset(&source);
    auto opened = SnapshotView::open(storage_, geometry_, *record, allocator_.chunks_in_file());
    if (!opened) return opened.status();
    view = std::move(*opened);
    src_size = record->virtual_size;
  }
  if (src_offset >= src_size) return std::uint64_t{0};
  if (dst_offset >= virtual_size()) {
    return Status(Code::kNoSpace, "copy past the end of the disk: a disk does not grow by writing");
  }
  length = std::min({length, src_size - src_offset, virtual_size() - dst_offset});
  if (source == 0 && src_offset < dst_offset + length && dst_offset < src_offset + length) {
    return Status(Code::kInvalid, "ranges of one disk overlap");
  }
  FrontMap front_map(front_);
  StateMap& map = view ? static_cast<StateMap&>(*view) : front_map;
  const std::uint64_t chunk_size = geometry_.chunk_size();
  std::uint64_t done = 0;
  while (done < length) {
    const std::uint64_t from = src_offset + done;
    const std::uint64_t to = dst_offset + done;
    const std::uint64_t within = to & (chunk_size - 1);
    const std::uint64_t piece = std::min(length - done, chunk_size - within);
    const bool whole = within == 0 && (from & (chunk_size - 1)) == 0 &&
                       (piece == chunk_size || (to + piece == virtual_size() && from + piece == src_size));
    bool shared = false;
    if (whole) {
      const Status s = share_chunk(map, static_cast<std::uint32_t>(from >> geometry_.chunk_log2),
                                   static_cast<std::uint32_t>(to >> geometry_.chunk_log2), &shared);
      if (!s) return s;
    }
    if (!shared) {
      const Status s = copy_bytes(map, from, to, piece);
      if (!s) return s;
    }
    done += piece;
  }
  return length;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

// Makes virtual chunk `to` of the front name what `from` of the source names, where a snapshot reaches that, or
// unmaps it where the source reads as zeros.
Status ImageImpl::share_chunk(StateMap& source, std::uint32_t from, std::uint32_t to, bool* shared) {
  // No snapshot operation meanwhile: the reference that makes sharing safe must stay.
  const std::lock_guard operation(operation_);
  if (Status s = begin_change(); !s) return s;
  const std::shared_lock gate(gate_);
  if (to >= front_.table.size()) return {Code::kNoSpace, "copy past the end of the disk"};
  const bool from_front = dynamic_cast<FrontMap*>(&source) != nullptr;
  Mapping mapping;
  if (Status s = source.lookup(from, &mapping); !s) return s;
  const std::lock_guard stripe(front_.stripe(to).mutex);
  if (!names_chunk(mapping.entry)) {
    const bool zeros = (mapping.entry & kChunkMask) == kZero || unmapped_entry(from) == kEmpty;
    if (!zeros) return Status::ok();
    replace_mapping(to, unmapped_entry(to));
    *shared = true;
    return Status::ok();
  }
  if (from_front && is_own(mapping.entry)) return Status::ok();
  const bool partial = (mapping.entry & kPartialFlag) != 0;
  if (partial && mapping.origin == format::kOriginBase && from != to) return Status::ok();
  const std::uint32_t entry = (mapping.entry & (kChunkMask | kPartialFlag)) | kSharedFlag;
  replace_mapping(to, entry, partial ? &mapping : nullptr);
  *shared = true;
  return Status::ok();
}

Status ImageImpl::copy_bytes(StateMap& source, std::uint64_t src_offset, std::uint64_t dst_offset,
                             std::uint64_t length) {
  std::vector<std::byte> buffer(std::min<std::uint64_t>(length, 1 << 20));
  while (length > 0) {
    const std::span<std::byte> piece = std::span(buffer).first(std::min<std::uint64_t>(length, buffer.size()));
    {
      const std::shared_lock gate(gate_);
      if (Status s = StateIo(storage_, geometry_, base_.get()).read(source, src_offset, piece); !s) return s;
    }
    auto written = write(dst_offset, piece);
    if (!written) return written.status();
    if (*written < piece.size()) return {Code::kNoSpace, "copy past the end of the disk"};
    src_offset += piece.size();
    dst_offset += piece.size();
    length -= piece.size();
  }
  return Status::ok();
}

}  // namespace fvd
