#include "map/partial_map.h"

#include <algorithm>

namespace fvd {

std::size_t PartialMap::home(std::uint32_t key) const {
  // Fibonacci hashing; keys of one stripe differ in their upper bits only.
  return static_cast<std::size_t>((std::uint64_t{key} * 0x9E3779B97F4A7C15ULL) >> 32) & (keys_.size() - 1);
}

std::size_t PartialMap::slot_of(std::uint32_t key) const {
  std::size_t slot = home(key);
  while (keys_[slot] != kFree && keys_[slot] != key) slot = (slot + 1) & (keys_.size() - 1);
  return slot;
}

PartialMap::Entry PartialMap::at(std::size_t slot) {
  return {&origins_[slot], std::span(bits_).subspan(slot * words_, words_), &owned_since_[slot], cut_};
}

PartialMap::Entry PartialMap::find(std::uint32_t virtual_chunk) {
  if (keys_.empty()) return {};
  const std::size_t slot = slot_of(virtual_chunk);
  return keys_[slot] == kFree ? Entry{} : at(slot);
}

PartialMap::Entry PartialMap::insert(std::uint32_t virtual_chunk, std::uint32_t origin) {
  if (size_ + 1 > keys_.size() / 8 * 7) grow();
  const std::size_t slot = slot_of(virtual_chunk);
  keys_[slot] = virtual_chunk;
  origins_[slot] = origin;
  owned_since_[slot] = kNever;
  std::fill_n(bits_.begin() + static_cast<std::ptrdiff_t>(slot * words_), words_, 0);
  ++size_;
  return at(slot);
}

void PartialMap::erase(std::uint32_t virtual_chunk) {
  if (keys_.empty()) return;
  std::size_t hole = slot_of(virtual_chunk);
  if (keys_[hole] == kFree) return;
  const std::size_t mask = keys_.size() - 1;
  // Close the gap: pull back each later entry of the run that may live at the hole.
  for (std::size_t next = (hole + 1) & mask; keys_[next] != kFree; next = (next + 1) & mask) {
    if (((next - home(keys_[next])) & mask) >= ((next - hole) & mask)) {
      move(next, hole);
      hole = next;
    }
  }
  keys_[hole] = kFree;
  --size_;
}

void PartialMap::move(std::size_t from, std::size_t to) {
  keys_[to] = keys_[from];
  origins_[to] = origins_[from];
  owned_since_[to] = owned_since_[from];
  std::copy_n(bits_.begin() + static_cast<std::ptrdiff_t>(from * words_), words_,
              bits_.begin() + static_cast<std::ptrdiff_t>(to * words_));
}

void PartialMap::grow() {
  PartialMap larger(words_);
  const std::size_t slots = std::max<std::size_t>(8, keys_.size() * 2);
  larger.keys_.assign(slots, kFree);
  larger.origins_.resize(slots);
  larger.owned_since_.resize(slots);
  larger.cut_ = cut_;
  larger.bits_.resize(slots * words_);
  for_each([&](std::uint32_t key, Entry old) {
    Entry entry = larger.insert(key, *old.origin);
    entry.set_origin_owned(old.origin_owned());
    std::copy(old.words.begin(), old.words.end(), entry.words.begin());
  });
  *this = std::move(larger);
}

std::size_t PartialMap::memory() const { return keys_.size() * (12 + words_ * sizeof(std::uint64_t)); }

}  // namespace fvd
