// Arithmetic that says when it overflows, and rounding. For numbers that come from an image or from a user.
#ifndef FVD_BASE_CHECKED_H_
#define FVD_BASE_CHECKED_H_

#include <concepts>
#include <cstdint>
#include <optional>

namespace fvd {

template <std::unsigned_integral T>
std::optional<T> checked_add(T a, T b) {
  T sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

template <std::unsigned_integral T>
std::optional<T> checked_mul(T a, T b) {
  T product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// `multiple` is a power of two; REQUIRES that the result fits.
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t multiple) {
  return (value + multiple - 1) & ~(multiple - 1);
}
constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t multiple) { return value & ~(multiple - 1); }
constexpr std::uint64_t div_ceil(std::uint64_t value, std::uint64_t divisor) {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}
constexpr bool is_power_of_two(std::uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

}  // namespace fvd

#endif  // FVD_BASE_CHECKED_H_
