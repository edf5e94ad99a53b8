#include "base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace fvd {

std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t seed) {
  constexpr std::size_t kPiece = 1U << 30;  // isa-l takes an int
  std::uint32_t state = ~seed;
  while (!data.empty()) {
    const std::size_t n = std::min(data.size(), kPiece);
    // isa-l declares its input non-const and does not write to it.
    auto* bytes = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(data.data()));
    state = crc32_iscsi(bytes, static_cast<int>(n), state);
    data = data.subspan(n);
  }
  return ~state;
}

}  // namespace fvd
