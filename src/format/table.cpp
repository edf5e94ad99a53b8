#include "format/table.h"

#include <algorithm>
#include <bit>

#include "base/checked.h"
#include "base/endian.h"
#include "format/object.h"

namespace fvd::format {
namespace {

Status corrupt(const std::string& what) { return {Code::kCorrupt, "lookup table: " + what}; }

}  // namespace

std::uint64_t TableHeader::groups_offset() const {
  return align_up(index_offset() + std::uint64_t{stored_groups} * 4, kPage);
}

std::uint64_t TableHeader::longest(const Geometry& geometry, std::uint64_t virtual_size) {
  TableHeader h;
  h.entries = geometry.virtual_chunks(virtual_size);
  h.stored_groups = static_cast<std::uint32_t>(div_ceil(h.entries, kEntriesPerGroup));
  h.partial_count = h.entries;
  h.bitmap_bytes = geometry.bitmap_bytes();
  return h.length();
}

void TableHeader::encode(std::span<std::byte> object) const {
  store_le(object.data() + 24, virtual_size);
  store_le(object.data() + 32, entries);
  store_le(object.data() + 36, stored_groups);
  store_le(object.data() + 40, partial_count);
  store_le(object.data() + 44, bitmap_bytes);
}

Result<TableHeader> TableHeader::decode(std::span<const std::byte> in, std::uint64_t object_length,
                                        const Geometry& geometry) {
  if (in.size() < kObjectHeader) return corrupt("too short");
  TableHeader h;
  h.virtual_size = load_le<std::uint64_t>(in.data() + 24);
  h.entries = load_le<std::uint32_t>(in.data() + 32);
  h.stored_groups = load_le<std::uint32_t>(in.data() + 36);
  h.partial_count = load_le<std::uint32_t>(in.data() + 40);
  h.bitmap_bytes = load_le<std::uint32_t>(in.data() + 44);
  if (load_le<std::uint64_t>(in.data() + 48) != 0 || load_le<std::uint64_t>(in.data() + 56) != 0) {
    return corrupt("a reserved field is in use");
  }
  if (h.virtual_size == 0 || h.virtual_size % 512 != 0 || h.virtual_size > kMaxVirtualSize ||
      div_ceil(h.virtual_size, geometry.chunk_size()) > kMaxVirtualChunks ||
      h.entries != geometry.virtual_chunks(h.virtual_size)) {
    return corrupt("virtual size or number of entries out of range");
  }
  if (h.bitmap_bytes != geometry.bitmap_bytes()) return corrupt("wrong size of bitmaps");
  if (h.stored_groups > div_ceil(h.entries, kEntriesPerGroup) || h.partial_count > h.entries) {
    return corrupt("more groups or partial records than entries");
  }
  if (h.length() != object_length) return corrupt("its counts do not add up to its length");
  return h;
}

bool entry_is_valid(std::uint32_t entry, std::uint32_t chunk_limit) {
  if (entry == kEmpty || entry == kZero) return true;
  if ((entry & kSharedFlag) != 0) return false;
  const std::uint32_t chunk = entry & kChunkMask;
  return chunk >= 1 && chunk <= chunk_limit && chunk <= kMaxChunk;
}

bool origin_is_valid(std::uint32_t origin, std::uint32_t chunk_limit) {
  return origin == kOriginZero || origin == kOriginBase || (origin <= chunk_limit && origin <= kMaxChunk);
}

Result<TableView> TableView::parse(std::span<const std::byte> object, const ObjectRef& ref, const Geometry& geometry,
                                   std::uint32_t chunk_limit) {
  if (Status s = verify_object(object, kTableMagic, ref); !s) return s;
  auto header = TableHeader::decode(object, object.size(), geometry);
  if (!header) return header.status();
  TableView view;
  view.header_ = *header;
  view.object_ = object;
  const TableHeader& h = view.header_;
  const std::uint64_t index_end = h.index_offset() + std::uint64_t{h.stored_groups} * 4;
  for (std::uint64_t i = index_end; i < h.groups_offset(); ++i) {
    if (object[i] != std::byte{0}) return corrupt("padding in use");
  }
  const std::uint64_t total_groups = div_ceil(h.entries, kEntriesPerGroup);
  const std::uint32_t complete_limit = std::min(chunk_limit, kMaxChunk);  // those of most groups
  std::uint32_t partial = 0;  // index of the next record that must match an entry
  for (std::uint32_t i = 0; i < h.stored_groups; ++i) {
    const std::uint32_t number = view.group_number(i);
    if (number >= total_groups || (i > 0 && number <= view.group_number(i - 1)))
      return corrupt("group index not ascending");
    const std::byte* group = view.group(i).data();
    const std::uint64_t first = std::uint64_t{number} * kEntriesPerGroup;
    const bool whole = first + kEntriesPerGroup <= h.entries;
    std::uint32_t any = 0;
    std::uint32_t largest = 0;
    for (std::uint32_t e = 0; e < kEntriesPerGroup; ++e) {
      const auto entry = load_le<std::uint32_t>(group + std::size_t{e} * 4);
      any |= entry;
      largest = std::max(largest, entry);
    }
    if (any == 0) return corrupt("group " + std::to_string(number) + " is stored and holds no entry");
    if (whole && largest <= complete_limit) continue;
    for (std::uint32_t e = 0; e < kEntriesPerGroup; ++e) {
      const auto entry = load_le<std::uint32_t>(group + std::size_t{e} * 4);
      if (entry == kEmpty) continue;
      if (first + e >= h.entries || !entry_is_valid(entry, chunk_limit)) {
        return corrupt("entry of virtual chunk " + std::to_string(first + e) + " is out of range (" +
                       std::to_string(entry & kChunkMask) + "; the file holds " + std::to_string(chunk_limit) +
                       " chunks)");
      }
      if ((entry & kPartialFlag) == 0) continue;
      if (partial >= h.partial_count || view.partial(partial).virtual_chunk != first + e) {
        return corrupt("no partial record for virtual chunk " + std::to_string(first + e));
      }
      ++partial;
    }
  }
  if (partial != h.partial_count) return corrupt("a partial record without its entry");
  const std::uint32_t spare = h.bitmap_bytes * 8 - geometry.blocks_per_chunk();
  for (std::uint32_t i = 0; i < h.partial_count; ++i) {
    const PartialRecord record = view.partial(i);
    if (!origin_is_valid(record.origin, chunk_limit)) {
      return corrupt("origin of virtual chunk " + std::to_string(record.virtual_chunk) + " is out of range");
    }
    if (spare != 0) {
      const auto last = load_le<std::uint64_t>(record.bitmap.data() + h.bitmap_bytes - 8);
      if (last >> (64 - spare) != 0) return corrupt("a bitmap has bits beyond its chunk");
    }
    std::uint32_t present = 0;
    for (std::uint32_t w = 0; w < h.bitmap_bytes; w += 8) {
      present += static_cast<std::uint32_t>(std::popcount(load_le<std::uint64_t>(record.bitmap.data() + w)));
    }
    if (present == geometry.blocks_per_chunk()) {
      return corrupt("virtual chunk " + std::to_string(record.virtual_chunk) + " is partial with all its blocks");
    }
  }
  return view;
}

std::uint32_t TableView::group_number(std::uint32_t stored_group) const {
  return load_le<std::uint32_t>(object_.data() + header_.index_offset() + std::size_t{stored_group} * 4);
}

std::span<const std::byte> TableView::group(std::uint32_t stored_group) const {
  return object_.subspan(header_.groups_offset() + std::uint64_t{stored_group} * kGroupBytes, kGroupBytes);
}

PartialRecord TableView::partial(std::uint32_t index) const {
  const std::byte* at = object_.data() + header_.partials_offset() + index * header_.partial_size();
  return {load_le<std::uint32_t>(at), load_le<std::uint32_t>(at + 4), std::span(at + 8, header_.bitmap_bytes)};
}

void TableView::for_each_entry(const std::function<void(std::uint32_t, std::uint32_t)>& visit) const {
  for (std::uint32_t i = 0; i < header_.stored_groups; ++i) {
    const std::span<const std::byte> bytes = group(i);
    for (std::uint32_t e = 0; e < kEntriesPerGroup; ++e) {
      const auto entry = load_le<std::uint32_t>(bytes.data() + std::size_t{e} * 4);
      if (entry != kEmpty) visit(group_number(i) * kEntriesPerGroup + e, entry);
    }
  }
}

}  // namespace fvd::format
