// Reading and writing current-state.
//
// A write into a chunk of the front's own that is complete is one pwrite under the shared freeze gate: no lock, no
// metadata. Every other write changes the mapping of one virtual chunk under its stripe: data first, then the mapping
// is published, then marked for the next commit. Sub-chunk copy-on-write: the first write into a chunk that a snapshot
// holds goes to a new chunk, of which only the blocks written are present; the rest is read from the origin.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <shared_mutex>

#include "base/checked.h"
#include "image/front_map.h"
#include "image/image_impl.h"
#include "map/block_bits.h"

namespace fvd {

using format::kChunkMask;
using format::kEmpty;
using format::kOriginBase;
using format::kOriginZero;
using format::kPartialFlag;
using format::kSharedFlag;
using format::kZero;

namespace {

constexpr std::size_t kCopyBuffer = 128 << 10;

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};

// Taken when a thread first needs it, and kept: most never do. Empty when there is no memory.
std::span<std::byte> copy_buffer() {
  thread_local std::unique_ptr<std::byte, Free> buffer;
  if (!buffer) buffer.reset(static_cast<std::byte*>(std::aligned_alloc(4096, kCopyBuffer)));
  return {buffer.get(), buffer ? kCopyBuffer : 0};
}

}  // namespace

Status ImageImpl::check_writable() const {
  if (read_only_) return {Code::kReadOnly, "image " + storage_.file().path() + " is open read-only"};
  if (failed_.load(std::memory_order_acquire)) {
    const std::lock_guard lock(superblock_mutex_);
    return {Code::kReadOnly,
            "image " + storage_.file().path() + " turned read-only after a failure (" + failure_ + "); open it again"};
  }
  return Status::ok();
}

Result<std::size_t> ImageImpl::read(std::uint64_t offset, std::span<std::byte> out) {
  const std::shared_lock gate(gate_);
  const std::uint64_t size = virtual_size();
  if (offset >= size) return std::size_t{0};
  out = out.first(std::min<std::uint64_t>(out.size(), size - offset));
  FrontMap map(front_);
  if (Status s = StateIo(storage_, geometry_, base_.get()).read(map, offset, out); !s) return s;
  if (!journaled_.empty()) {
    if (Status s = journaled_.read_over(storage_, offset, out); !s) return s;
  }
  guest_reads_.fetch_add(1, std::memory_order_relaxed);
  guest_read_bytes_.fetch_add(out.size(), std::memory_order_relaxed);
  return out.size();
}

Result<Extent> ImageImpl::extent(std::uint64_t offset) {
  const std::shared_lock gate(gate_);
  FrontMap map(front_);
  auto extent = StateIo(storage_, geometry_, base_.get()).extent(map, virtual_size(), offset);
  if (!extent || journaled_.empty()) return extent;
  const JournaledData::Range range = journaled_.next(offset);
  if (range.length == 0 || range.offset >= offset + extent->length) return extent;
  if (range.offset > offset) {
    extent->length = range.offset - offset;
    return extent;
  }
  return Extent{offset, std::min(range.length, virtual_size() - offset), true, Extent::Place::kImage, range.source};
}

Result<std::size_t> ImageImpl::write(std::uint64_t offset, std::span<const std::byte> data) try {
  if (Status s = check_writable(); !s) return s;
  std::size_t total = 0;
  for (bool retried = false;; retried = true) {
    Status s;
    {
      const std::shared_lock gate(gate_);
      if (!retried) {
        const std::uint64_t size = virtual_size();
        if (offset >= size) {
          return Status(Code::kNoSpace, "write past the end of the disk: a disk does not grow by writing");
        }
        data = data.first(std::min<std::uint64_t>(data.size(), size - offset));
        total = data.size();
      }
      s = write_pieces(&offset, &data);
    }
    if (s.is_ok()) break;
    if (retried || s.code() != Code::kNoSpace) return s;
    if (Status found = find_space(); !found) return found;
  }
  guest_writes_.fetch_add(1, std::memory_order_relaxed);
  guest_write_bytes_.fetch_add(total, std::memory_order_relaxed);
  return total;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

// Chunks that wait for a commit, or to be given back, may be all that is missing.
Status ImageImpl::find_space() {
  if (!quarantine_.empty()) {
    if (Status flushed = flush(); !flushed) return flushed;
  }
  reclaim();  // also waits for what another thread is giving back
  if (!storage_.file().is_block_device()) reclaimer_.give_all();
  return Status::ok();
}

// Advances both as it goes, so that what could not be written can be tried again.
Status ImageImpl::write_pieces(std::uint64_t* offset, std::span<const std::byte>* data) {
  const std::uint64_t chunk_size = geometry_.chunk_size();
  while (!data->empty()) {
    const auto v = static_cast<std::uint32_t>(*offset >> geometry_.chunk_log2);
    if (v >= front_.table.size()) return {Code::kNoSpace, "write past the end of the disk"};
    const std::uint64_t within = *offset & (chunk_size - 1);
    std::size_t length = std::min<std::uint64_t>(data->size(), chunk_size - within);
    const std::uint32_t entry = front_.table.load(v);
    Status s;
    if (is_own_complete(entry)) {
      // One request for as many chunks as lie one after the other in the file.
      std::uint32_t next = 1;
      while (length < data->size() && front_.table.load(v + next) == entry + next) {
        length = std::min<std::uint64_t>(data->size(), length + chunk_size);
        ++next;
      }
      s = write_in_place(v, entry, within, data->first(length));
    } else {
      s = write_mapped(v, within, {data->first(length), length});
    }
    if (!s) return s;
    *offset += length;
    *data = data->subspan(length);
  }
  return Status::ok();
}

Status ImageImpl::put(std::uint32_t v, std::uint32_t chunk, std::uint64_t offset, const Payload& payload) {
  if (!payload.data.empty()) return write_in_place(v, chunk, offset, payload.data);
  const RecentWrites::InFlight in_flight(recent_, v);
  return storage_.zero(geometry_.file_offset(chunk) + offset, payload.length);
}

// May reach over chunks that follow one another on the disk and in the file.
Status ImageImpl::write_in_place(std::uint32_t v, std::uint32_t chunk, std::uint64_t offset,
                                 std::span<const std::byte> data) {
  const std::uint64_t chunk_size = geometry_.chunk_size();
  const auto last = static_cast<std::uint32_t>((offset + data.size() - 1) >> geometry_.chunk_log2);
  const RecentWrites::InFlight in_flight(recent_, v, v + last);
  if (Status s = storage_.write_noted(Structure::kData, geometry_.file_offset(chunk) + offset, data); !s) return s;
  for (std::uint32_t i = 0; i <= last; ++i) {
    const std::uint64_t from = i == 0 ? offset : 0;
    const std::uint64_t to = std::min(chunk_size, offset + data.size() - (std::uint64_t{i} << geometry_.chunk_log2));
    recent_.add(v + i, chunk + i, from, to - from);
  }
  return Status::ok();
}

Status ImageImpl::write_mapped(std::uint32_t v, std::uint64_t offset, const Payload& payload) {
  std::unique_lock stripe(front_.stripe(v).mutex);
  const std::uint32_t entry = front_.table.load(v);
  if (is_own_complete(entry)) {
    stripe.unlock();
    return put(v, entry, offset, payload);
  }
  if (is_own(entry)) return write_own_partial(v, entry, offset, payload, stripe);
  return write_new_chunk(v, entry, offset, payload);
}

Status ImageImpl::write_own_partial(std::uint32_t v, std::uint32_t entry, std::uint64_t offset, const Payload& payload,
                                    std::unique_lock<std::mutex>& stripe) {
  const std::uint32_t chunk = entry & kChunkMask;
  const auto first = static_cast<std::uint32_t>(offset >> geometry_.block_log2);
  const auto last =
      static_cast<std::uint32_t>((offset + payload.length + geometry_.block_size() - 1) >> geometry_.block_log2);
  PartialMap::Entry partial = front_.stripe(v).partials.find(v);
  if (run_end(partial.words, first, last, true) == last) {
    stripe.unlock();
    return put(v, chunk, offset, payload);
  }
  if (Status s = begin_shorter_change(); !s) return s;
  if (Status s = fill_edges(v, chunk, *partial.origin, partial.words, offset, payload.length); !s) return s;
  if (Status s = put(v, chunk, offset, payload); !s) return s;
  set_blocks(partial.words, first, last);
  if (count_blocks(partial.words) == geometry_.blocks_per_chunk()) {
    publish(v, chunk);
  } else {
    front_.changes.mark(v);
  }
  return Status::ok();
}

Status ImageImpl::write_new_chunk(std::uint32_t v, std::uint32_t old_entry, std::uint64_t offset,
                                  const Payload& payload) {
  if (Status s = begin_change(); !s) return s;
  Mapping mapping;
  mapping.entry = old_entry;
  if ((old_entry & kPartialFlag) != 0) {
    const PartialMap::Entry shared = front_.stripe(v).partials.find(v);
    mapping.origin = *shared.origin;
    std::copy(shared.words.begin(), shared.words.end(), mapping.words.begin());
  }
  if (Status s = build_chunk(v, offset, payload, &mapping); !s) return s;
  replace_mapping(v, mapping.entry, (mapping.entry & kPartialFlag) != 0 ? &mapping : nullptr);
  return Status::ok();
}

Status ImageImpl::build_chunk(std::uint32_t v, std::uint64_t offset, const Payload& payload, Mapping* mapping) {
  const std::uint32_t old_entry = mapping->entry;
  const bool whole = payload.length == geometry_.chunk_size();
  const bool on_base = (old_entry & kChunkMask) == kEmpty && StateIo(storage_, geometry_, base_.get()).base_covers(v);
  const bool on_zeros = !names_chunk(old_entry) && !on_base;
  if (payload.data.empty() && (on_zeros || whole)) {
    mapping->entry = unmapped_entry(v);
    return Status::ok();
  }
  auto allocated = allocate_data(on_zeros && !whole);
  if (!allocated) return allocated.status();
  const std::uint32_t chunk = *allocated;
  const auto abandon = [&](const Status& s) {
    allocator_.release(chunk, 1, false);
    return s;
  };
  if (whole || on_zeros) {
    // The chunk reads as zeros around what is written: complete at once.
    if (Status s = put(v, chunk, offset, payload); !s) return abandon(s);
    mapping->entry = chunk;
    return Status::ok();
  }

  const auto first = static_cast<std::uint32_t>(offset >> geometry_.block_log2);
  const auto last =
      static_cast<std::uint32_t>((offset + payload.length + geometry_.block_size() - 1) >> geometry_.block_log2);
  const std::span<std::uint64_t> words(mapping->words.data(), geometry_.bitmap_words());
  if ((old_entry & kPartialFlag) != 0) {
    // Depth is at most two: the present blocks of a shared partial chunk come along, its origin stays the origin.
    const std::uint64_t block_size = geometry_.block_size();
    const auto overwritten_first = static_cast<std::uint32_t>(div_ceil(offset, block_size));
    const auto overwritten_last = static_cast<std::uint32_t>((offset + payload.length) >> geometry_.block_log2);
    const std::uint32_t blocks = geometry_.blocks_per_chunk();
    for (std::uint32_t b = 0; b < blocks;) {
      const bool skip = b >= overwritten_first && b < overwritten_last;
      if (skip || !block_present(words, b)) {
        b = skip ? overwritten_last : run_end(words, b, blocks, false);
        continue;
      }
      std::uint32_t end = run_end(words, b, blocks, true);
      if (overwritten_first < overwritten_last && b < overwritten_first) end = std::min(end, overwritten_first);
      const Status s = copy_blocks(v, old_entry & kChunkMask, chunk, b * block_size, (end - b) * block_size);
      if (!s) return abandon(s);
      b = end;
    }
  } else {
    mapping->origin = on_base ? kOriginBase : (old_entry & kChunkMask);
    std::fill(words.begin(), words.end(), 0);
  }
  if (Status s = fill_edges(v, chunk, mapping->origin, words, offset, payload.length); !s) return abandon(s);
  if (Status s = put(v, chunk, offset, payload); !s) return abandon(s);
  set_blocks(words, first, last);
  mapping->entry = count_blocks(words) == geometry_.blocks_per_chunk() ? chunk : chunk | kPartialFlag;
  return Status::ok();
}

// Completes from the origin the blocks that the range [offset, +length) covers in part and that are not present.
Status ImageImpl::fill_edges(std::uint32_t v, std::uint32_t chunk, std::uint32_t origin,
                             std::span<const std::uint64_t> words, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t block_size = geometry_.block_size();
  const std::uint64_t end = offset + length;
  const std::uint64_t head = align_down(offset, block_size);
  const std::uint64_t tail = align_up(end, block_size);
  if (head < offset && !block_present(words, static_cast<std::uint32_t>(head >> geometry_.block_log2))) {
    if (Status s = copy_blocks(v, origin, chunk, head, offset - head); !s) return s;
  }
  if (end < tail && !block_present(words, static_cast<std::uint32_t>(end >> geometry_.block_log2))) {
    if (Status s = copy_blocks(v, origin, chunk, end, tail - end); !s) return s;
  }
  return Status::ok();
}

// Copies [offset, +length) of the chunk or origin `from_origin` of virtual chunk `v` to the same place in `to_chunk`.
Status ImageImpl::copy_blocks(std::uint32_t v, std::uint32_t from_origin, std::uint32_t to_chunk, std::uint64_t offset,
                              std::uint64_t length) {
  StateIo io(storage_, geometry_, base_.get());
  const std::span<std::byte> buffer = copy_buffer();
  if (buffer.empty()) return {Code::kNoSpace, "not enough memory to copy blocks"};
  copied_bytes_.fetch_add(length, std::memory_order_relaxed);
  while (length > 0) {
    const std::span<std::byte> piece = buffer.first(std::min<std::uint64_t>(length, kCopyBuffer));
    if (Status s = io.read_origin(v, from_origin, offset, piece); !s) return s;
    if (Status s = write_in_place(v, to_chunk, offset, piece); !s) return s;
    offset += piece.size();
    length -= piece.size();
  }
  return Status::ok();
}

Result<std::uint32_t> ImageImpl::allocate_data(bool must_read_zero) {
  auto place = allocator_.allocate();
  if (!place) return place.status();
  if (must_read_zero && place->was_zeroed) storage_.only_a_sync_helps();
  if (must_read_zero && !place->reads_zero) {
    const std::uint64_t from = geometry_.file_offset(place->first);
    const std::uint64_t to = from + geometry_.chunk_size();
    auto data = storage_.file().seek_data(from, to);
    Status s = data.status();
    storage_.only_a_sync_helps();  // a hole may not be durable either
    if (s.is_ok() && *data != to) {
      // Zeroing it can take the host long: that is for the background, if there is another.
      if (auto zeroed = allocator_.allocate_zeroed(); zeroed && zeroed->reads_zero) {
        if (zeroed->was_zeroed) storage_.only_a_sync_helps();
        allocator_.release(place->first, 1, false);
        return zeroed->first;
      } else if (zeroed) {
        allocator_.release(zeroed->first, 1, false);
      }
      s = storage_.zero(from, geometry_.chunk_size());
    }
    if (!s) {
      allocator_.release(place->first, 1, false);
      return s;
    }
  }
  return place->first;
}

void ImageImpl::publish(std::uint32_t v, std::uint32_t entry, const Mapping* partial) {
  front_.table.store(v, entry);
  front_.changes.mark(v);
  PartialMap& partials = front_.stripe(v).partials;
  bool origin_owned = false;
  if (const PartialMap::Entry old = partials.find(v)) {
    const std::uint32_t origin = *old.origin;
    const bool owned = old.origin_owned();
    partials.erase(v);
    partial_chunks_.fetch_sub(1, std::memory_order_relaxed);
    if (partial != nullptr && partial->origin == origin) {
      origin_owned = owned;
    } else if (owned) {
      quarantine_.add(origin);
    }
  }
  if (partial == nullptr) return;
  const PartialMap::Entry record = partials.insert(v, partial->origin);
  record.set_origin_owned(origin_owned);
  std::copy_n(partial->words.begin(), record.words.size(), record.words.begin());
  partial_chunks_.fetch_add(1, std::memory_order_relaxed);
}

void ImageImpl::replace_mapping(std::uint32_t v, std::uint32_t entry, const Mapping* partial) {
  const std::uint32_t old = front_.table.load(v);
  if (old == entry && partial == nullptr) return;
  if (names_chunk(entry)) front_.mapped.fetch_add(1, std::memory_order_relaxed);
  if (names_chunk(old)) front_.mapped.fetch_sub(1, std::memory_order_relaxed);
  publish(v, entry, partial);
  if (is_own(old) && (old & kChunkMask) != (entry & kChunkMask)) quarantine_.add(old & kChunkMask);
}

std::uint32_t ImageImpl::unmapped_entry(std::uint32_t v) const {
  return base_ != nullptr && (std::uint64_t{v} << geometry_.chunk_log2) < base_->size() ? kZero : kEmpty;
}

Status ImageImpl::flush() try {
  if (read_only_) return Status::ok();
  guest_flushes_.fetch_add(1, std::memory_order_relaxed);
  // What recovery put in place may have to be told to the journal, though no mapping has changed yet.
  if (journal_has_data_.load(std::memory_order_acquire) && !changed_.load(std::memory_order_acquire)) {
    (void)hold_more_space();
  }
  for (;;) {
    const std::uint64_t epoch = current_epoch();
    const CommitQueue::Outcome outcome = commit_once(Commit::kSoonest);
    if (!outcome.journal_full) {
      if (!background_.joinable()) reclaim();
      return outcome.status;
    }
    const std::lock_guard operation(operation_);
    if (current_epoch() != epoch) continue;  // another thread has emptied the journal meanwhile
    if (Status s = checkpoint(false); !s) return s;
  }
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace fvd
