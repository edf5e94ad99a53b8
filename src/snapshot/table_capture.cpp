#include "snapshot/table_capture.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/checked.h"
#include "format/object.h"

namespace fvd {

using format::kEntriesPerGroup;
using format::kGroupBytes;
using format::kPage;

void TableCapture::prepare(Front& front) {
  entries_ = front.table.size();
  const std::size_t groups = div_ceil(entries_, kEntriesPerGroup);
  std::size_t used_groups = 0;
  for (std::size_t p = 0; p < groups; ++p) {
    const auto first = static_cast<std::uint32_t>(p * kEntriesPerGroup);
    const std::uint32_t last = std::min(entries_, first + kEntriesPerGroup);
    std::uint32_t any = 0;
    for (std::uint32_t v = first; v < last && any == 0; ++v) any = front.table.load(v);
    used_groups += any != 0 ? 1 : 0;
  }
  std::size_t partials = 0;
  for (Front::Stripe& s : front.stripes) {
    const std::lock_guard lock(s.mutex);
    partials += s.partials.size();
  }
  // For what is mapped between here and the cut; more than that costs a reallocation.
  constexpr std::size_t kSpareGroups = 4096;
  constexpr std::size_t kSparePartials = 256;
  groups_at_ = align_up(64 + groups * 4, kPage);
  buffer_.resize(groups_at_ + std::min(groups, used_groups + kSpareGroups) * kGroupBytes +
                 (partials + kSparePartials) * partial_size());
  group_numbers_.reserve(groups);
}

void TableCapture::take(Front& front, bool mark_shared) {
  // Groups at the front, partial records behind them; prepare() made room, growth happens only when it was overtaken.
  std::size_t end = groups_at_;
  const auto room = [&](std::size_t bytes) {
    if (buffer_.size() < end + bytes) buffer_.resize(std::max(end + bytes, buffer_.size() + buffer_.size() / 4));
    return buffer_.data() + end;
  };
  for (std::uint32_t first = 0; first < entries_; first += kEntriesPerGroup) {
    const std::uint32_t last = std::min(entries_, first + kEntriesPerGroup);
    std::uint32_t v = first;
    while (v < last && front.table.load(v) == format::kEmpty) ++v;
    if (v == last) continue;
    std::byte* out = room(kGroupBytes);
    std::memset(out, 0, kGroupBytes);
    for (; v < last; ++v) {
      const std::uint32_t entry = front.table.load(v);
      if (entry == format::kEmpty) continue;
      store_le<std::uint32_t>(out + std::size_t{v - first} * 4, entry & ~format::kSharedFlag);
      if (!names_chunk(entry)) continue;
      ++mapped_;
      if (mark_shared && (entry & format::kSharedFlag) == 0) front.table.store(v, entry | format::kSharedFlag);
    }
    group_numbers_.push_back(first / kEntriesPerGroup);
    end += kGroupBytes;
  }
  partials_at_ = end;
  for (Front::Stripe& s : front.stripes) {
    const std::lock_guard lock(s.mutex);
    s.partials.for_each([&](std::uint32_t virtual_chunk, PartialMap::Entry partial) {
      std::byte* out = room(partial_size());
      store_le<std::uint32_t>(out, virtual_chunk);
      store_le<std::uint32_t>(out + 4, *partial.origin);
      for (std::size_t w = 0; w < partial.words.size(); ++w) store_le(out + 8 + w * 8, partial.words[w]);
      end += partial_size();
      if (mark_shared) *partial.origin_owned = false;
    });
  }
  buffer_.resize(end);
}

void TableCapture::sort_partials() {
  const std::size_t size = partial_size();
  const std::size_t count = (buffer_.size() - partials_at_) / size;
  const auto key = [&](std::size_t i) { return load_le<std::uint32_t>(buffer_.data() + partials_at_ + i * size); };
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
  std::vector<std::byte> sorted(count * size);
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(sorted.data() + i * size, buffer_.data() + partials_at_ + order[i] * size, size);
  }
  std::copy(sorted.begin(), sorted.end(), buffer_.begin() + static_cast<std::ptrdiff_t>(partials_at_));
}

void TableCapture::finish(std::uint64_t virtual_size) {
  sort_partials();
  format::TableHeader header;
  header.virtual_size = virtual_size;
  header.entries = entries_;
  header.stored_groups = static_cast<std::uint32_t>(group_numbers_.size());
  header.partial_count = static_cast<std::uint32_t>((buffer_.size() - partials_at_) / partial_size());
  header.bitmap_bytes = geometry_.bitmap_bytes();
  start_ = groups_at_ - header.groups_offset();
  length_ = buffer_.size() - start_;
  const std::span<std::byte> object = std::span(buffer_).subspan(start_, length_);
  std::memset(object.data(), 0, header.groups_offset());
  header.encode(object);
  for (std::size_t i = 0; i < group_numbers_.size(); ++i) {
    store_le(object.data() + header.index_offset() + i * 4, group_numbers_[i]);
  }
  crc_ = format::seal_object(object, format::kTableMagic);
}

}  // namespace fvd
