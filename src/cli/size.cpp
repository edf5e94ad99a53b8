#include "cli/size.h"

#include <charconv>
#include <string_view>

#include "base/checked.h"

namespace fvd::cli {
namespace {

constexpr std::string_view kSuffixes = "BKMGTPE";
constexpr std::string_view kDigits = "0123456789";

// 0.`digits` of `unit`, cut to a whole number. A long double holds the 18 digits that it looks at, and any unit.
std::uint64_t fraction_of(std::string_view digits, std::uint64_t unit) {
  long double value = 0;
  long double weight = 1;
  for (const char digit : digits.substr(0, 18)) {
    value = value * 10 + static_cast<long double>(digit - '0');
    weight *= 10;
  }
  return static_cast<std::uint64_t>(value * static_cast<long double>(unit) / weight);
}

}  // namespace

Result<std::uint64_t> parse_size(const std::string& text) {
  const Status invalid(Code::kInvalid,
                       "\"" + text + "\" is not a size: give bytes, or a number with K, M, G, T, P or E");
  const Status too_large(Code::kInvalid, "the size " + text + " is too large");
  std::string_view rest = text;
  const std::string_view whole = rest.substr(0, rest.find_first_not_of(kDigits));
  if (whole.empty()) return invalid;
  rest.remove_prefix(whole.size());
  std::string_view fraction;
  bool has_fraction = false;
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    fraction = rest.substr(0, rest.find_first_not_of(kDigits));
    if (fraction.empty()) return invalid;
    rest.remove_prefix(fraction.size());
    has_fraction = true;
  }
  std::uint64_t unit = 1;
  if (!rest.empty()) {
    const char suffix = rest[0] >= 'a' && rest[0] <= 'z' ? static_cast<char>(rest[0] - 'a' + 'A') : rest[0];
    const std::size_t power = kSuffixes.find(suffix);
    if (rest.size() != 1 || power == std::string_view::npos) return invalid;
    unit <<= 10 * power;
  }
  if (has_fraction && unit == 1) return invalid;
  std::uint64_t number = 0;
  if (std::from_chars(whole.data(), whole.data() + whole.size(), number).ec != std::errc()) return too_large;
  const auto bytes = checked_mul(number, unit);
  if (!bytes) return too_large;
  const auto sum = checked_add(*bytes, fraction_of(fraction, unit));
  if (!sum) return too_large;
  return *sum;
}

}  // namespace fvd::cli
