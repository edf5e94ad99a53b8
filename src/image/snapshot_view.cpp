#include "image/snapshot_view.h"

#include <algorithm>
#include <array>

#include "base/endian.h"
#include "snapshot/objects.h"

namespace fvd {
namespace {

constexpr std::uint32_t kStride = 64;  // partial records for each number kept in memory

}  // namespace

Result<std::unique_ptr<SnapshotView>> SnapshotView::open(Storage& storage, const format::Geometry& geometry,
                                                         const format::SnapshotRecord& record,
                                                         std::uint32_t chunk_limit) {
  std::unique_ptr<SnapshotView> view(new SnapshotView(storage, geometry, chunk_limit));
  if (record.table.is_none()) return view;
  auto object = read_object(storage, Structure::kTable, geometry, record.table,
                            format::TableHeader::longest(geometry, record.virtual_size));
  if (!object) return object.status();
  auto table = format::TableView::parse(*object, record.table, geometry, chunk_limit);
  if (!table) {
    return Status(table.code(), "snapshot " + record.name + ": " + table.status().message() + "; run fvd check");
  }
  view->object_offset_ = geometry.file_offset(record.table.first_chunk);
  view->header_ = table->header();
  for (std::uint32_t i = 0; i < view->header_.stored_groups; ++i) view->groups_.push_back(table->group_number(i));
  for (std::uint32_t i = 0; i < view->header_.partial_count; i += kStride) {
    view->partial_index_.push_back(table->partial(i).virtual_chunk);
  }
  return view;
}

Status SnapshotView::lookup(std::uint32_t v, Mapping* out) {
  out->entry = format::kEmpty;
  const std::uint32_t group = v / format::kEntriesPerGroup;
  const auto it = std::lower_bound(groups_.begin(), groups_.end(), group);
  if (it == groups_.end() || *it != group) return Status::ok();
  const std::uint64_t at = object_offset_ + header_.groups_offset() +
                           static_cast<std::uint64_t>(it - groups_.begin()) * format::kGroupBytes +
                           std::uint64_t{v % format::kEntriesPerGroup} * 4;
  std::array<std::byte, 4> bytes;
  if (Status s = storage_.read(Structure::kTable, at, bytes); !s) return s;
  out->entry = load_le<std::uint32_t>(bytes.data());
  if (!format::entry_is_valid(out->entry, chunk_limit_)) {
    return {Code::kCorrupt, "a table entry of a snapshot changed while it was open; run fvd check"};
  }
  return (out->entry & format::kPartialFlag) != 0 ? lookup_partial(v, out) : Status::ok();
}

Status SnapshotView::lookup_partial(std::uint32_t v, Mapping* out) {
  const Status missing(Code::kCorrupt, "a partial chunk of a snapshot has no record; run fvd check");
  const auto after = std::upper_bound(partial_index_.begin(), partial_index_.end(), v);
  if (after == partial_index_.begin()) return missing;
  const auto stretch = static_cast<std::uint32_t>(after - partial_index_.begin() - 1);
  const std::uint32_t first = stretch * kStride;
  const std::uint32_t count = std::min(kStride, header_.partial_count - first);
  const std::size_t size = header_.partial_size();
  const std::uint64_t at = object_offset_ + header_.partials_offset() + std::uint64_t{first} * size;
  // Binary search within the stretch, one small read a step.
  std::uint32_t low = 0;
  std::uint32_t high = count;
  std::array<std::byte, 8> head;
  while (low < high) {
    const std::uint32_t middle = (low + high) / 2;
    if (Status s = storage_.read(Structure::kTable, at + std::uint64_t{middle} * size, head); !s) return s;
    const auto found = load_le<std::uint32_t>(head.data());
    if (found == v) {
      out->origin = load_le<std::uint32_t>(head.data() + 4);
      if (!format::origin_is_valid(out->origin, chunk_limit_)) return missing;
      std::array<std::byte, Mapping::kMaxWords * 8> bits;
      const std::span<std::byte> bitmap = std::span(bits).first(header_.bitmap_bytes);
      if (Status s = storage_.read(Structure::kTable, at + std::uint64_t{middle} * size + 8, bitmap); !s) return s;
      for (std::size_t w = 0; w < geometry_.bitmap_words(); ++w) {
        out->words[w] = load_le<std::uint64_t>(bitmap.data() + w * 8);
      }
      return Status::ok();
    }
    if (found < v) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return missing;
}

std::uint32_t SnapshotView::empty_run(std::uint32_t v, std::uint32_t limit) {
  const std::uint32_t group = v / format::kEntriesPerGroup;
  const auto it = std::lower_bound(groups_.begin(), groups_.end(), group);
  const std::uint64_t end = std::uint64_t{v} + limit;
  if (it == groups_.end()) return limit;
  if (*it != group) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(end, std::uint64_t{*it} * format::kEntriesPerGroup) - v);
  }
  std::array<std::byte, format::kGroupBytes> bytes;
  const std::uint64_t at =
      object_offset_ + header_.groups_offset() + static_cast<std::uint64_t>(it - groups_.begin()) * format::kGroupBytes;
  if (!storage_.read(Structure::kTable, at, bytes)) return 0;
  std::uint32_t n = 0;
  while (n < limit && v % format::kEntriesPerGroup + n < format::kEntriesPerGroup &&
         load_le<std::uint32_t>(bytes.data() + std::size_t{v % format::kEntriesPerGroup + n} * 4) == format::kEmpty) {
    ++n;
  }
  return n;
}

}  // namespace fvd
