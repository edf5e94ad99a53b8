// Little-endian loads and stores on byte buffers, whatever the host's order and alignment.
#ifndef FVD_BASE_ENDIAN_H_
#define FVD_BASE_ENDIAN_H_

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>

namespace fvd {

template <std::integral T>
T load_le(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (std::endian::native == std::endian::big) {
    T swapped = 0;
    for (std::size_t i = 0; i < sizeof value; ++i) swapped = static_cast<T>(swapped << 8 | ((value >> (8 * i)) & 0xFF));
    return swapped;
  }
  return value;
}

template <std::integral T>
void store_le(std::byte* to, T value) {
  if constexpr (std::endian::native == std::endian::big) {
    for (std::size_t i = 0; i < sizeof value; ++i) to[i] = static_cast<std::byte>(value >> (8 * i) & 0xFF);
  } else {
    std::memcpy(to, &value, sizeof value);
  }
}

}  // namespace fvd

#endif  // FVD_BASE_ENDIAN_H_
