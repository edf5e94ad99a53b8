#include "support/counted_writes.h"

#include <algorithm>
#include <cstring>

namespace fvd::test {
namespace {

constexpr std::size_t kWords = CountedWrites::kSector / sizeof(std::uint64_t);

std::uint64_t word(std::size_t writer, std::uint64_t number, std::size_t sector, std::size_t index) {
  if (index == 0) return number;
  return number * 0x9E3779B97F4A7C15ULL ^ (writer << 48 | std::uint64_t{sector} << 32 | index);
}

void fill_sector(std::size_t writer, std::uint64_t number, std::size_t sector, char* out) {
  for (std::size_t i = 0; i < kWords; ++i) {
    const std::uint64_t value = word(writer, number, sector, i);
    std::memcpy(out + i * sizeof value, &value, sizeof value);
  }
}

bool holds(std::size_t writer, std::uint64_t number, std::size_t sector, const char* seen) {
  char wanted[CountedWrites::kSector];
  fill_sector(writer, number, sector, wanted);
  return std::memcmp(wanted, seen, sizeof wanted) == 0;
}

std::uint64_t number_in(const char* sector) {
  std::uint64_t number = 0;
  std::memcpy(&number, sector, sizeof number);
  return number;
}

// The last number of a slot that is not above `limit`; 0 when there is none.
std::uint64_t last_of(std::uint64_t slot, std::uint64_t limit) {
  if (limit < slot) return 0;
  return limit - (limit - slot) % CountedWrites::kSlots;
}

std::string place(std::size_t writer, std::uint64_t slot, std::size_t sector) {
  return "writer " + std::to_string(writer) + " slot " + std::to_string(slot) + " sector " + std::to_string(sector);
}

std::string text_of(const CountedWrites::Bounds& bounds) {
  return " (start " + std::to_string(bounds.start) + ", least " + std::to_string(bounds.least) + ", most " +
         std::to_string(bounds.most) + ")";
}

std::string first_difference(const std::string& wanted, const std::string& seen) {
  if (wanted.size() != seen.size()) return "the disk has " + std::to_string(seen.size()) + " bytes";
  const auto [at, other] = std::mismatch(wanted.begin(), wanted.end(), seen.begin());
  if (at == wanted.end()) return {};
  return "bytes differ from offset " + std::to_string(at - wanted.begin()) + ", which no writer may have touched";
}

}  // namespace

std::uint64_t CountedWrites::offset(std::size_t writer, std::uint64_t number) const {
  return writer * kRegionSize + number % kSlots * kStride;
}

void CountedWrites::fill(std::size_t writer, std::uint64_t number, char* out) const {
  for (std::size_t i = 0; i < regions_[writer].sectors; ++i) fill_sector(writer, number, i, out + i * kSector);
}

std::string CountedWrites::judge_cut(const std::string& seen, const std::string& base,
                                     const std::vector<Bounds>& bounds) const {
  if (seen.size() != base.size()) return first_difference(base, seen);
  std::string expected = base;
  for (std::size_t w = 0; w < writers(); ++w) {
    if (regions_[w].stored) {
      if (std::string wrong = judge_sectors(w, seen, base, bounds[w]); !wrong.empty()) return wrong;
      for (std::uint64_t slot = 0; slot < kSlots; ++slot)
        expected.replace(offset(w, slot), length(w), seen, offset(w, slot), length(w));
      continue;
    }
    std::uint64_t last = bounds[w].start;
    for (std::uint64_t slot = 0; slot < kSlots; ++slot) {
      const std::uint64_t number = number_in(seen.data() + offset(w, slot));
      if (number % kSlots == slot && number <= bounds[w].most) last = std::max(last, number);
    }
    if (last < bounds[w].least) {
      return "writer " + std::to_string(w) + ": the last write in it is " + std::to_string(last) + text_of(bounds[w]);
    }
    for (std::uint64_t slot = 0; slot < kSlots; ++slot) {
      const std::uint64_t number = last_of(slot, last);
      if (number > bounds[w].start) fill(w, number, expected.data() + offset(w, slot));
      for (std::size_t i = 0; i < regions_[w].sectors; ++i) {
        const std::uint64_t at = offset(w, slot) + i * kSector;
        if (std::memcmp(expected.data() + at, seen.data() + at, kSector) == 0) continue;
        return place(w, slot, i) + " begins with " + std::to_string(number_in(seen.data() + at)) + " and not with " +
               std::to_string(number_in(expected.data() + at)) + " though the last write in it is " +
               std::to_string(last) + text_of(bounds[w]);
      }
    }
  }
  return first_difference(expected, seen);
}

std::string CountedWrites::judge_crash(const std::string& seen, const std::string& base,
                                       const std::vector<Bounds>& bounds) const {
  if (seen.size() != base.size()) return first_difference(base, seen);
  std::string expected = base;
  for (std::size_t w = 0; w < writers(); ++w) {
    if (std::string wrong = judge_sectors(w, seen, base, bounds[w]); !wrong.empty()) return wrong;
    for (std::uint64_t slot = 0; slot < kSlots; ++slot)
      expected.replace(offset(w, slot), length(w), seen, offset(w, slot), length(w));
  }
  return first_difference(expected, seen);
}

std::string CountedWrites::judge_sectors(std::size_t writer, const std::string& seen, const std::string& base,
                                         const Bounds& bounds) const {
  for (std::uint64_t slot = 0; slot < kSlots; ++slot) {
    const std::uint64_t needed = last_of(slot, bounds.least);
    for (std::size_t i = 0; i < regions_[writer].sectors; ++i) {
      const std::uint64_t at = offset(writer, slot) + i * kSector;
      const char* const sector = seen.data() + at;
      if (needed <= bounds.start && std::memcmp(base.data() + at, sector, kSector) == 0) continue;
      const std::uint64_t number = number_in(sector);
      if (number > bounds.start && number >= needed && number <= bounds.most && number % kSlots == slot &&
          holds(writer, number, i, sector)) {
        continue;
      }
      if (regions_[writer].stored && is_mixture(writer, slot, sector, base.data() + at, bounds)) continue;
      return place(writer, slot, i) + " begins with " + std::to_string(number) + ", needed is " +
             std::to_string(needed) + text_of(bounds);
    }
  }
  return {};
}

// Stores that were under way leave a sector whose words are each from one of the writes that may be there.
bool CountedWrites::is_mixture(std::size_t writer, std::uint64_t slot, const char* seen, const char* base,
                               const Bounds& bounds) const {
  const std::uint64_t needed = last_of(slot, bounds.least);
  for (std::size_t i = 0; i < kWords; ++i) {
    std::uint64_t have = 0;
    std::uint64_t old = 0;
    std::memcpy(&have, seen + i * sizeof have, sizeof have);
    std::memcpy(&old, base + i * sizeof old, sizeof old);
    bool known = needed <= bounds.start && have == old;
    for (std::uint64_t n = last_of(slot, bounds.most); !known && n > bounds.start && n >= needed; n -= kSlots) {
      known = have == word(writer, n, 0, i);
      if (n < kSlots) break;
    }
    if (!known) return false;
  }
  return true;
}

}  // namespace fvd::test
