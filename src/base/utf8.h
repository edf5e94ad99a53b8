// Reads UTF-8.
#ifndef FVD_BASE_UTF8_H_
#define FVD_BASE_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fvd {

struct CodePoint {
  std::uint32_t value = 0;
  std::size_t bytes = 0;  // 0: what is there is not UTF-8

  // C0, DEL and C1: what speaks to a terminal instead of being shown.
  [[nodiscard]] bool is_control() const { return value < 0x20 || (value >= 0x7F && value < 0xA0); }
};

// The one that `text`, which is not empty, begins with.
inline CodePoint first_code_point(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xC0 || lead >= 0xF8) return {};
  const std::size_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  if (text.size() <= more) return {};
  std::uint32_t value = lead & (0x3FU >> more);
  for (std::size_t i = 1; i <= more; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xC0U) != 0x80) return {};
    value = value << 6 | (next & 0x3FU);
  }
  constexpr std::uint32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[more] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return {};
  return {value, more + 1};
}

}  // namespace fvd

#endif  // FVD_BASE_UTF8_H_
