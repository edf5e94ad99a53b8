#include "cli/size.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace fvd::cli {
namespace {

TEST(ParseSize, ReadsTheNotationOfQemuImg) {
  const std::vector<std::pair<std::string, std::uint64_t>> sizes{
      {"0", 0},
      {"512", 512},
      {"1000B", 1000},
      {"1k", 1024},
      {"1K", 1024},
      {"3M", 3ULL << 20},
      {"20G", 20ULL << 30},
      {"1.5G", 3ULL << 29},
      {"0.5K", 512},
      {"1.999K", 2046},  // 1024 + 1022.976
      {"64T", 64ULL << 40},
      {"2P", 2ULL << 50},
      {"1e", 1ULL << 60},
      {"18446744073709551615", std::numeric_limits<std::uint64_t>::max()},
  };
  for (const auto& [text, bytes] : sizes) {
    const auto parsed = parse_size(text);
    ASSERT_TRUE(parsed.is_ok()) << text << ": " << parsed.status().message();
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(ParseSize, RefusesEverythingElse) {
  for (const char* text : {"", " 1G", "1G ", "G", "-1", "+1", "1.G", ".5G", "1.5", "1.5B", "1GB", "1GiB", "1x", "0x10",
                           "1 G", "1,5G", "1.5.5G", "1e3"}) {
    const auto parsed = parse_size(text);
    EXPECT_EQ(parsed.code(), Code::kInvalid) << '"' << text << '"';
  }
}

TEST(ParseSize, RefusesWhatDoesNotFit) {
  for (const char* text : {"18446744073709551616", "16E", "99999999999999999999999", "16384P", "15.99E9"}) {
    EXPECT_EQ(parse_size(text).code(), Code::kInvalid) << text;
  }
}

}  // namespace
}  // namespace fvd::cli
