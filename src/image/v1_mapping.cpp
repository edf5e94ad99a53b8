#include "image/v1_mapping.h"

#include <algorithm>
#include <bit>

#include "base/checked.h"

namespace fvd {

using format::V1Header;

namespace {

constexpr std::uint32_t kDefaultBlockLog2 = 12;
constexpr std::uint32_t kMaxBlocksLog2 = 14;
static_assert(format::kMaxBlocksPerChunk == 1U << kMaxBlocksLog2);

}  // namespace

V1Mapping::V1Mapping(Storage& storage, V1State& state, std::uint32_t chunk_log2, std::uint32_t skipped)
    : storage_(storage), state_(state), chunk_log2_(chunk_log2), skipped_(skipped) {
  next_ = std::max(state.header().compact ? state.first_free_chunk() : chunks(), skipped) - skipped + 1;
}

std::uint32_t V1Mapping::chunks() const {
  return static_cast<std::uint32_t>(div_ceil(state_.virtual_size(), std::uint64_t{1} << chunk_log2_));
}

format::Geometry V1Mapping::geometry() const {
  return {chunk_log2_, block_log2_, state_.header().data_offset + (std::uint64_t{skipped_} << chunk_log2_)};
}

void V1Mapping::look(std::uint32_t v, Chunk* chunk) const {
  const V1Header& header = state_.header();
  const std::uint64_t start = std::uint64_t{v} << chunk_log2_;
  const std::uint64_t end = std::min(state_.virtual_size(), start + (std::uint64_t{1} << chunk_log2_));
  chunk->runs.clear();
  chunk->any_base = chunk->any_own = false;
  chunk->over_base = header.has_base() && start < header.base_size;
  chunk->size = end - start;
  chunk->number = 0;
  if (!header.compact) chunk->number = v - skipped_ + 1;
  if (header.compact && state_.table()[v] != V1Header::kEmpty) chunk->number = state_.table()[v] - skipped_ + 1;
  for (std::uint64_t at = start; at < end;) {
    const V1State::Piece piece = state_.piece(at, end);
    bool from_base = piece.from == V1State::Piece::From::kBase;
    chunk->any_base = chunk->any_base || from_base;
    // Zeros behind the base are zeros, whether they are said to be the base's or not.
    if (piece.from == V1State::Piece::From::kZeros && at >= header.base_size) from_base = true;
    chunk->any_own = chunk->any_own || !from_base;
    const std::uint64_t stop = at + piece.length - start;
    if (!chunk->runs.empty() && chunk->runs.back().from_base == from_base) {
      chunk->runs.back().end = stop;
    } else {
      chunk->runs.push_back({at - start, stop, from_base});
    }
    at += piece.length;
  }
}

void V1Mapping::survey() {
  const std::uint32_t least = std::max(format::kMinBlockLog2, std::max(chunk_log2_, kMaxBlocksLog2) - kMaxBlocksLog2);
  int wanted = std::max(kDefaultBlockLog2, least);
  Chunk chunk;
  for (std::uint32_t v = 0; v < chunks(); ++v) {
    look(v, &chunk);
    if (!chunk.any_base || !chunk.any_own) continue;
    new_chunks_ += chunk.number == 0 ? 1 : 0;
    for (std::size_t i = 1; i < chunk.runs.size(); ++i) {
      wanted = std::min(wanted, std::countr_zero(chunk.runs[i].begin));
    }
  }
  block_log2_ = std::max(static_cast<std::uint32_t>(wanted), least);
}

// Whether all of a chunk that has no part of the base reads as zeros without being stored.
bool V1Mapping::is_hole(const Chunk& chunk) const {
  const std::uint64_t offset = geometry().file_offset(chunk.number);
  const auto data = storage_.file().seek_data(offset, offset + geometry().chunk_size());
  return data && *data == offset + geometry().chunk_size();
}

Status V1Mapping::build(Front& front) {
  if (std::uint64_t{next_} + new_chunks_ > format::kMaxChunk) {
    return {Code::kUnsupported, "it has more chunks than version 2 can number"};
  }
  const std::uint64_t end = geometry().file_offset(next_ + new_chunks_);
  const auto size = storage_.file().size();
  if (!size) return size.status();
  if (*size < end) {
    if (Status s = storage_.file().truncate(end); !s) return s;
  }
  if (Status s = front.table.resize(chunks()); !s) return s;
  Chunk chunk;
  for (std::uint32_t v = 0; v < chunks(); ++v) {
    look(v, &chunk);
    if (!chunk.any_own) continue;  // EMPTY, also where a chunk lies unseen below the base
    if (chunk.any_base) {
      if (Status s = map_partial(v, chunk, front); !s) return s;
    } else if (chunk.number == 0 || is_hole(chunk)) {
      if (chunk.over_base) front.table.store(v, format::kZero);
    } else {
      front.table.store(v, chunk.number);
      if (Status s = zero_behind_disk(chunk); !s) return s;
    }
  }
  return Status::ok();
}

Status V1Mapping::map_partial(std::uint32_t v, Chunk& chunk, Front& front) {
  if (chunk.number == 0) {
    chunk.number = next_++;
    // What a longer file holds there was never the disk's.
    if (Status s = storage_.zero(geometry().file_offset(chunk.number), geometry().chunk_size()); !s) return s;
  }
  const std::uint64_t block = geometry().block_size();
  std::vector<std::uint64_t> words(geometry().bitmap_words());
  for (const Run& run : chunk.runs) {
    if (run.from_base) {
      // Blocks at its ends that it shares with what is not the base's. The end of the disk is no such end.
      const std::uint64_t head = std::min(run.end, align_up(run.begin, block));
      const std::uint64_t tail = run.end == chunk.size ? run.end : std::max(head, align_down(run.end, block));
      if (Status s = fill(v, chunk, run.begin, head); !s) return s;
      if (Status s = fill(v, chunk, tail, run.end); !s) return s;
      continue;
    }
    for (std::uint64_t b = run.begin / block; b * block < run.end; ++b) {
      words[b / 64] |= std::uint64_t{1} << (b % 64);
    }
  }
  std::uint32_t present = 0;
  for (const std::uint64_t word : words) present += static_cast<std::uint32_t>(std::popcount(word));
  if (present == geometry().blocks_per_chunk()) {
    front.table.store(v, chunk.number);
    return zero_behind_disk(chunk);
  }
  const PartialMap::Entry partial = front.stripe(v).partials.insert(v, format::kOriginBase);
  std::copy(words.begin(), words.end(), partial.words.begin());
  front.table.store(v, chunk.number | format::kPartialFlag);
  return zero_behind_disk(chunk);
}

// Copies a part of the base into its place in the chunk.
Status V1Mapping::fill(std::uint32_t v, const Chunk& chunk, std::uint64_t begin, std::uint64_t end) {
  if (begin == end) return Status::ok();
  const std::uint64_t start = std::uint64_t{v} << chunk_log2_;
  std::vector<std::byte> bytes(end - begin);
  if (Status s = state_.read(start + begin, bytes); !s) return s;
  return storage_.write(Structure::kData, geometry().file_offset(chunk.number) + begin, bytes);
}

// Where the disk can grow to, nothing may be.
Status V1Mapping::zero_behind_disk(const Chunk& chunk) {
  if (chunk.size == geometry().chunk_size()) return Status::ok();
  return storage_.zero(geometry().file_offset(chunk.number) + chunk.size, geometry().chunk_size() - chunk.size);
}

}  // namespace fvd
