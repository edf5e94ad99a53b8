#include "snapshot/table_capture.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/checked.h"
#include "format/object.h"

namespace fvd {

using format::kEntriesPerPage;
using format::kPage;

void TableCapture::prepare(Front& front) {
  entries_ = front.table.size();
  const std::size_t pages = div_ceil(entries_, kEntriesPerPage);
  std::size_t used_pages = 0;
  for (std::size_t p = 0; p < pages; ++p) {
    const auto first = static_cast<std::uint32_t>(p * kEntriesPerPage);
    const std::uint32_t last = std::min(entries_, first + kEntriesPerPage);
    std::uint32_t any = 0;
    for (std::uint32_t v = first; v < last && any == 0; ++v) any = front.table.load(v);
    used_pages += any != 0 ? 1 : 0;
  }
  std::size_t partials = 0;
  for (Front::Stripe& s : front.stripes) {
    const std::lock_guard lock(s.mutex);
    partials += s.partials.size();
  }
  constexpr std::size_t kSpare =
      64;  // for what is mapped between here and the cut; more than that costs a reallocation
  pages_at_ = align_up(64 + pages * 4, kPage);
  buffer_.resize(pages_at_ + std::min(pages, used_pages + kSpare) * kPage + (partials + kSpare) * partial_size());
  page_numbers_.reserve(pages);
}

void TableCapture::take(Front& front, bool mark_shared) {
  // Pages at the front, partial records behind them; prepare() made room, growth happens only when it was overtaken.
  std::size_t end = pages_at_;
  const auto room = [&](std::size_t bytes) {
    if (buffer_.size() < end + bytes) buffer_.resize(std::max(end + bytes, buffer_.size() + buffer_.size() / 4));
    return buffer_.data() + end;
  };
  for (std::uint32_t first = 0; first < entries_; first += kEntriesPerPage) {
    const std::uint32_t last = std::min(entries_, first + kEntriesPerPage);
    std::uint32_t v = first;
    while (v < last && front.table.load(v) == format::kEmpty) ++v;
    if (v == last) continue;
    std::byte* out = room(kPage);
    std::memset(out, 0, kPage);
    for (; v < last; ++v) {
      const std::uint32_t entry = front.table.load(v);
      if (entry == format::kEmpty) continue;
      store_le<std::uint32_t>(out + std::size_t{v - first} * 4, entry & ~format::kSharedFlag);
      if (!names_chunk(entry)) continue;
      ++mapped_;
      if (mark_shared && (entry & format::kSharedFlag) == 0) front.table.store(v, entry | format::kSharedFlag);
    }
    page_numbers_.push_back(first / kEntriesPerPage);
    end += kPage;
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
  header.stored_pages = static_cast<std::uint32_t>(page_numbers_.size());
  header.partial_count = static_cast<std::uint32_t>((buffer_.size() - partials_at_) / partial_size());
  header.bitmap_bytes = geometry_.bitmap_bytes();
  start_ = pages_at_ - header.pages_offset();
  length_ = buffer_.size() - start_;
  const std::span<std::byte> object = std::span(buffer_).subspan(start_, length_);
  std::memset(object.data(), 0, header.pages_offset());
  header.encode(object);
  for (std::size_t i = 0; i < page_numbers_.size(); ++i) {
    store_le(object.data() + header.index_offset() + i * 4, page_numbers_[i]);
  }
  crc_ = format::seal_object(object, format::kTableMagic);
}

}  // namespace fvd
