// Bit operations on the bitmap of a partial chunk: bit b of the words stands for block b.
#ifndef FVD_MAP_BLOCK_BITS_H_
#define FVD_MAP_BLOCK_BITS_H_

#include <bit>
#include <cstdint>
#include <span>

namespace fvd {

inline bool block_present(std::span<const std::uint64_t> words, std::uint32_t block) {
  return (words[block / 64] >> (block % 64) & 1) != 0;
}
inline void set_block(std::span<std::uint64_t> words, std::uint32_t block) {
  words[block / 64] |= std::uint64_t{1} << (block % 64);
}
// Blocks [first, last).
inline void set_blocks(std::span<std::uint64_t> words, std::uint32_t first, std::uint32_t last) {
  for (std::uint32_t b = first; b < last; ++b) {
    if (b % 64 == 0 && last - b >= 64) {
      words[b / 64] = ~std::uint64_t{0};
      b += 63;
    } else {
      set_block(words, b);
    }
  }
}
// First block in [first, last) whose presence is not `present`; `last` when there is none.
inline std::uint32_t run_end(std::span<const std::uint64_t> words, std::uint32_t first, std::uint32_t last,
                             bool present) {
  while (first < last) {
    const std::uint64_t differing = (present ? ~words[first / 64] : words[first / 64]) >> (first % 64);
    if (differing != 0) {
      const std::uint32_t at = first + static_cast<std::uint32_t>(std::countr_zero(differing));
      return at < last ? at : last;
    }
    first = (first / 64 + 1) * 64;
  }
  return last;
}
inline std::uint32_t count_blocks(std::span<const std::uint64_t> words) {
  std::uint32_t n = 0;
  for (const std::uint64_t w : words) n += static_cast<std::uint32_t>(std::popcount(w));
  return n;
}

}  // namespace fvd

#endif  // FVD_MAP_BLOCK_BITS_H_
