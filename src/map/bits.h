// Bits: a set of small numbers (physical chunks), a bit each. Not thread-safe.
#ifndef FVD_MAP_BITS_H_
#define FVD_MAP_BITS_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace fvd {

class Bits {
 public:
  explicit Bits(std::uint32_t size = 0) : words_(size / 64 + 1) {}
  [[nodiscard]] bool test(std::uint32_t i) const {
    return i / 64 < words_.size() && (words_[i / 64] >> (i % 64) & 1) != 0;
  }
  // Grows as needed. Returns what the bit was before.
  bool set(std::uint32_t i) {
    if (i / 64 >= words_.size()) words_.resize(i / 64 + 1);
    const std::uint64_t mask = std::uint64_t{1} << (i % 64);
    const bool was = (words_[i / 64] & mask) != 0;
    words_[i / 64] |= mask;
    return was;
  }
  void clear(std::uint32_t i) {
    if (i / 64 < words_.size()) words_[i / 64] &= ~(std::uint64_t{1} << (i % 64));
  }
  [[nodiscard]] bool empty() const {
    return std::all_of(words_.begin(), words_.end(), [](std::uint64_t word) { return word == 0; });
  }
  // Calls visit(i) for each member, ascending.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t w = 0; w < words_.size(); ++w) {
      for (std::uint64_t left = words_[w]; left != 0; left &= left - 1) {
        visit(static_cast<std::uint32_t>(w * 64 + static_cast<std::size_t>(std::countr_zero(left))));
      }
    }
  }
  [[nodiscard]] std::vector<std::uint64_t> take() && { return std::move(words_); }

 private:
  std::vector<std::uint64_t> words_;
};

}  // namespace fvd

#endif  // FVD_MAP_BITS_H_
