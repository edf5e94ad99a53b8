#include "snapshot/table_capture.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <numeric>

#include "base/checked.h"
#include "format/object.h"

namespace fvd {

using format::kEntriesPerGroup;
using format::kGroupBytes;
using format::kPage;

void TableCapture::add_partial(std::uint32_t virtual_chunk, const PartialMap::Entry& partial,
                               std::vector<std::byte>* to) const {
  const std::size_t at = to->size();
  to->resize(at + partial_size());
  std::byte* out = to->data() + at;
  store_le<std::uint32_t>(out, virtual_chunk);
  store_le<std::uint32_t>(out + 4, *partial.origin);
  for (std::size_t w = 0; w < partial.words.size(); ++w) store_le(out + 8 + w * 8, partial.words[w]);
}

void TableCapture::prepare(Front& front) {
  front.changes.begin_capture();
  entries_ = front.table.size();
  std::size_t partials = 0;
  for (Front::Stripe& s : front.stripes) {
    const std::lock_guard lock(s.mutex);
    partials += s.partials.size();
  }
  // Spare room for what is mapped meanwhile; more than that costs a reallocation.
  constexpr std::size_t kSpare = 1024;
  partials_.reserve((partials + kSpare) * partial_size());
  const std::size_t all_groups = div_ceil(entries_, kEntriesPerGroup);
  const std::size_t groups = std::min(all_groups, front.table.written_groups() + kSpare);
  groups_at_ = align_up(64 + groups * 4, kPage);
  buffer_.reserve(groups_at_ + groups * kGroupBytes + (partials + kSpare) * partial_size());
  buffer_.resize(groups_at_);
  group_numbers_.reserve(groups);

  front.table.for_each_written_group([&](std::uint32_t number) {
    const std::uint32_t first = number * kEntriesPerGroup;
    const std::uint32_t last = std::min(entries_, first + kEntriesPerGroup);
    std::array<std::byte, kGroupBytes> copy{};
    std::uint32_t any = 0;
    for (std::uint32_t v = first; v < last; ++v) {
      const std::uint32_t entry = front.table.load_unmarked(v);
      store_le(copy.data() + std::size_t{v - first} * 4, entry);
      any |= entry;
      mapped_ += names_chunk(entry) ? 1 : 0;
    }
    if (any == 0) return;
    group_numbers_.push_back(number);
    buffer_.insert(buffer_.end(), copy.begin(), copy.end());
  });
  for (Front::Stripe& s : front.stripes) {
    const std::lock_guard lock(s.mutex);
    s.partials.for_each(
        [&](std::uint32_t v, const PartialMap::Entry& partial) { add_partial(v, partial, &partials_); });
  }
  // The longer the copy took, the more has changed: that is copied again, until little is left for the cut.
  constexpr std::size_t kLittle = 256;
  constexpr int kMostRounds = 5;  // should writers be faster than that
  for (int round = 0; round < kMostRounds && copy_changes(front) > kLittle; ++round) {
  }
  late_.reserve(late_.size() + kSpare);
  late_partials_.reserve(late_partials_.size() + kSpare * partial_size());
}

std::size_t TableCapture::copy_changes(Front& front) {
  const std::vector<std::uint32_t> changed = front.changes.cut();
  for (const std::uint32_t v : changed) {
    Front::Stripe& stripe = front.stripe(v);
    const std::lock_guard lock(stripe.mutex);  // whoever marked it may not be through with it
    const std::uint32_t entry = front.table.load_unmarked(v);
    const bool partial = (entry & format::kPartialFlag) != 0;
    late_.push_back({v, entry, partial ? late_partials_.size() : kNoRecord});
    if (partial) add_partial(v, stripe.partials.find(v), &late_partials_);
  }
  return changed.size();
}

void TableCapture::take(Front& front, bool share) {
  (void)copy_changes(front);
  if (share) front.share_all();
}

// In ascending order, and of each chunk what was copied last.
void TableCapture::sort_late_entries() {
  const auto before = [](const Late& a, const Late& b) { return a.virtual_chunk < b.virtual_chunk; };
  std::stable_sort(late_.begin(), late_.end(), before);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < late_.size(); ++i) {
    if (i + 1 < late_.size() && late_[i + 1].virtual_chunk == late_[i].virtual_chunk) continue;
    late_[kept++] = late_[i];
  }
  late_.resize(kept);
}

void TableCapture::make_room_for_late_groups() {
  std::vector<std::uint32_t> added;
  for (const Late& late : late_) {
    const std::uint32_t number = late.virtual_chunk / kEntriesPerGroup;
    if (late.entry == format::kEmpty || (!added.empty() && added.back() == number)) continue;
    if (!std::binary_search(group_numbers_.begin(), group_numbers_.end(), number)) added.push_back(number);
  }
  std::size_t from = group_numbers_.size();
  std::size_t to = from + added.size();
  group_numbers_.resize(to);
  buffer_.resize(groups_at_ + to * kGroupBytes);
  while (!added.empty()) {
    --to;
    if (from > 0 && group_numbers_[from - 1] > added.back()) {
      --from;
      group_numbers_[to] = group_numbers_[from];
      std::memcpy(group(to), group(from), kGroupBytes);
    } else {
      group_numbers_[to] = added.back();
      std::memset(group(to), 0, kGroupBytes);
      added.pop_back();
    }
  }
}

void TableCapture::put_in_late_entries() {
  auto number = group_numbers_.begin();
  for (const Late& late : late_) {
    number = std::lower_bound(number, group_numbers_.end(), late.virtual_chunk / kEntriesPerGroup);
    if (number == group_numbers_.end() || *number != late.virtual_chunk / kEntriesPerGroup)
      continue;  // EMPTY, as it was
    std::byte* at = group(static_cast<std::size_t>(number - group_numbers_.begin())) +
                    std::size_t{late.virtual_chunk % kEntriesPerGroup} * 4;
    mapped_ -= names_chunk(load_le<std::uint32_t>(at)) ? 1 : 0;
    mapped_ += names_chunk(late.entry) ? 1 : 0;
    store_le(at, late.entry);
  }
}

void TableCapture::leave_out_empty_groups() {
  constexpr std::array<std::byte, kGroupBytes> kNothing{};
  std::size_t kept = 0;
  for (std::size_t i = 0; i < group_numbers_.size(); ++i) {
    if (std::memcmp(group(i), kNothing.data(), kGroupBytes) == 0) continue;
    if (kept != i) {
      group_numbers_[kept] = group_numbers_[i];
      std::memcpy(group(kept), group(i), kGroupBytes);
    }
    ++kept;
  }
  group_numbers_.resize(kept);
  buffer_.resize(groups_at_ + kept * kGroupBytes);
}

// In ascending order; of a chunk that changed meanwhile only the record of the cut, if it was partial then.
void TableCapture::append_partials() {
  const std::size_t size = partial_size();
  const std::size_t count = partials_.size() / size;
  const auto key = [&](std::size_t i) { return load_le<std::uint32_t>(partials_.data() + i * size); };
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
  partials_at_ = buffer_.size();
  buffer_.reserve(partials_at_ + partials_.size() + late_partials_.size());
  const auto append = [&](const std::vector<std::byte>& records, std::size_t at) {
    const auto record = records.begin() + static_cast<std::ptrdiff_t>(at);
    buffer_.insert(buffer_.end(), record, record + static_cast<std::ptrdiff_t>(size));
  };
  auto late = late_.begin();
  const auto append_late_up_to = [&](std::uint32_t virtual_chunk) {
    for (; late != late_.end() && late->virtual_chunk <= virtual_chunk; ++late) {
      if (late->partial != kNoRecord) append(late_partials_, late->partial);
    }
    return late != late_.begin() && (late - 1)->virtual_chunk == virtual_chunk;
  };
  for (const std::uint32_t i : order) {
    if (!append_late_up_to(key(i))) append(partials_, i * size);
  }
  (void)append_late_up_to(entries_);
  partials_ = {};
  late_partials_ = {};
}

void TableCapture::finish(std::uint64_t virtual_size) {
  sort_late_entries();
  if (!late_.empty()) {
    make_room_for_late_groups();
    put_in_late_entries();
    leave_out_empty_groups();
  }
  format::TableHeader header;
  header.virtual_size = virtual_size;
  header.entries = entries_;
  header.stored_groups = static_cast<std::uint32_t>(group_numbers_.size());
  if (header.groups_offset() > groups_at_) {  // more came late than there is spare room for
    buffer_.insert(buffer_.begin(), header.groups_offset() - groups_at_, std::byte{0});
    groups_at_ = header.groups_offset();
  }
  append_partials();
  header.partial_count = static_cast<std::uint32_t>((buffer_.size() - partials_at_) / partial_size());
  header.bitmap_bytes = geometry_.bitmap_bytes();
  start_ = groups_at_ - header.groups_offset();
  const std::span<std::byte> object = std::span(buffer_).subspan(start_);
  std::memset(object.data(), 0, header.groups_offset());
  header.encode(object);
  for (std::size_t i = 0; i < group_numbers_.size(); ++i) {
    store_le(object.data() + header.index_offset() + i * 4, group_numbers_[i]);
  }
  crc_ = format::seal_object(object, format::kTableMagic);
}

}  // namespace fvd
