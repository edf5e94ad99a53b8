#include "image/state_io.h"

#include <algorithm>
#include <cstring>

#include "map/block_bits.h"

namespace fvd {

using format::kChunkMask;
using format::kEmpty;
using format::kOriginBase;
using format::kOriginZero;
using format::kPartialFlag;
using format::kZero;

Status StateIo::read(StateMap& map, std::uint64_t offset, std::span<std::byte> out) {
  const std::uint64_t chunk_size = geometry_.chunk_size();
  // A run of complete chunks that lie one after the other, read when it ends.
  std::uint64_t run_offset = 0;  // in the file
  std::span<std::byte> run;
  const auto read_run = [&] {
    if (run.empty()) return Status::ok();
    const Status s = storage_.read(Structure::kData, run_offset, run);
    run = {};
    return s;
  };
  Mapping mapping;
  while (!out.empty()) {
    const auto v = static_cast<std::uint32_t>(offset >> geometry_.chunk_log2);
    const std::uint64_t within = offset & (chunk_size - 1);
    const std::span<std::byte> piece = out.first(std::min<std::uint64_t>(out.size(), chunk_size - within));
    if (Status s = map.lookup(v, &mapping); !s) return s;
    if (names_chunk(mapping.entry) && (mapping.entry & kPartialFlag) == 0) {
      const std::uint64_t at = geometry_.file_offset(mapping.entry & kChunkMask) + within;
      if (!run.empty() && run_offset + run.size() == at) {
        run = std::span(run.data(), run.size() + piece.size());
      } else {
        if (Status s = read_run(); !s) return s;
        run = piece;
        run_offset = at;
      }
    } else {
      if (Status s = read_run(); !s) return s;
      if ((mapping.entry & kChunkMask) == kZero) {
        std::memset(piece.data(), 0, piece.size());
      } else if (!names_chunk(mapping.entry)) {
        if (Status s = read_origin(v, kOriginBase, within, piece); !s) return s;
      } else if (Status s = read_partial(v, mapping, within, piece); !s) {
        return s;
      }
    }
    offset += piece.size();
    out = out.subspan(piece.size());
  }
  return read_run();
}

Status StateIo::read_partial(std::uint32_t v, const Mapping& mapping, std::uint64_t offset, std::span<std::byte> out) {
  const std::span<const std::uint64_t> words(mapping.words.data(), geometry_.bitmap_words());
  const std::uint64_t file_offset = geometry_.file_offset(mapping.entry & kChunkMask);
  while (!out.empty()) {
    const auto block = static_cast<std::uint32_t>(offset >> geometry_.block_log2);
    const bool present = block_present(words, block);
    const std::uint64_t end = std::uint64_t{run_end(words, block, geometry_.blocks_per_chunk(), present)}
                              << geometry_.block_log2;
    const std::span<std::byte> piece = out.first(std::min<std::uint64_t>(out.size(), end - offset));
    const Status s = present ? storage_.read(Structure::kData, file_offset + offset, piece)
                             : read_origin(v, mapping.origin, offset, piece);
    if (!s) return s;
    offset += piece.size();
    out = out.subspan(piece.size());
  }
  return Status::ok();
}

Status StateIo::read_origin(std::uint32_t v, std::uint32_t origin, std::uint64_t offset, std::span<std::byte> out) {
  if (origin == kOriginBase && base_covers(v)) {
    return base_->read((std::uint64_t{v} << geometry_.chunk_log2) + offset, out);
  }
  if (origin == kOriginBase || origin == kOriginZero) {
    std::memset(out.data(), 0, out.size());
    return Status::ok();
  }
  return storage_.read(Structure::kData, geometry_.file_offset(origin) + offset, out);
}

Result<Extent> StateIo::extent(StateMap& map, std::uint64_t virtual_size, std::uint64_t offset) {
  if (offset >= virtual_size) return Status(Code::kInvalid, "no extent past the end of the disk");
  const auto v = static_cast<std::uint32_t>(offset >> geometry_.chunk_log2);
  const std::uint64_t within = offset & (geometry_.chunk_size() - 1);
  Mapping mapping;
  if (Status s = map.lookup(v, &mapping); !s) return s;
  if ((mapping.entry & kChunkMask) == kEmpty && !base_covers(v)) {
    // The common case of a sparse disk: one answer for a long hole.
    const std::uint32_t chunks = geometry_.virtual_chunks(virtual_size);
    const std::uint32_t run = std::max<std::uint32_t>(1, map.empty_run(v, chunks - v));
    const std::uint64_t end = std::min(virtual_size, std::uint64_t{v + run} << geometry_.chunk_log2);
    return Extent{offset, end - offset, false};
  }
  const std::uint64_t length = std::min(virtual_size - offset, geometry_.chunk_size() - within);
  auto found = extent_in_chunk(v, mapping, within, length);
  if (!found) return found;
  found->offset = offset;
  found->length = std::min(found->length, length);
  return found;
}

Result<Extent> StateIo::extent_in_chunk(std::uint32_t v, const Mapping& mapping, std::uint64_t offset,
                                        std::uint64_t length) {
  const std::uint32_t chunk = mapping.entry & kChunkMask;
  if (chunk == kZero) return Extent{offset, length, false};
  if (chunk == kEmpty) return extent_of_origin(v, kOriginBase, offset, length);
  if ((mapping.entry & kPartialFlag) == 0) return extent_of_file(chunk, offset, length);
  const std::span<const std::uint64_t> words(mapping.words.data(), geometry_.bitmap_words());
  const auto block = static_cast<std::uint32_t>(offset >> geometry_.block_log2);
  const bool present = block_present(words, block);
  const std::uint64_t end = std::uint64_t{run_end(words, block, geometry_.blocks_per_chunk(), present)}
                            << geometry_.block_log2;
  length = std::min(length, end - offset);
  return present ? extent_of_file(chunk, offset, length) : extent_of_origin(v, mapping.origin, offset, length);
}

Result<Extent> StateIo::extent_of_origin(std::uint32_t v, std::uint32_t origin, std::uint64_t offset,
                                         std::uint64_t length) {
  if (origin == kOriginBase && base_covers(v)) {
    const std::uint64_t from = (std::uint64_t{v} << geometry_.chunk_log2) + offset;
    auto data = base_->seek_data(from, from + length);
    if (!data) return data.status();
    if (*data > from) return Extent{offset, *data - from, false, Extent::Place::kBase, from};
    auto hole = base_->seek_hole(from, from + length);
    if (!hole) return hole.status();
    return Extent{offset, std::max<std::uint64_t>(*hole - from, 1), true, Extent::Place::kBase, from};
  }
  if (origin == kOriginBase || origin == kOriginZero) return Extent{offset, length, false};
  return extent_of_file(origin, offset, length);
}

Result<Extent> StateIo::extent_of_file(std::uint32_t chunk, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t from = geometry_.file_offset(chunk) + offset;
  auto data = storage_.file().seek_data(from, from + length);
  if (!data) return data.status();
  if (*data > from) return Extent{offset, *data - from, false, Extent::Place::kImage, from};
  auto hole = storage_.file().seek_hole(from, from + length);
  if (!hole) return hole.status();
  return Extent{offset, std::max<std::uint64_t>(*hole - from, 1), true, Extent::Place::kImage, from};
}

}  // namespace fvd
