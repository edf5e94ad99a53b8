// measure is kept by what convert makes, and has the names and, for raw disks, the numbers of qemu-img measure.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cli_rig.h"

namespace fvd::test {
namespace {

class CliMeasure : public CliImage {
 protected:
  const std::string copy = directory.file("copy.fvd");
};

TEST_F(CliMeasure, AnImageIsNoLargerThanMeasured) {
  for (const char* chunk : {"64K", "1M", "8M"}) {
    for (const std::uint64_t fill : {0, 1, 7, 64}) {
      const std::string source = directory.file("source.fvd");
      fvd_ok({"create", "--force", source, "64M"});
      {
        auto open = Image::open(source, {});
        ASSERT_OK(open);
        for (std::uint64_t i = 0; i < fill; ++i) write_all(**open, (i * 37 % 64) * kMiB, pattern(kMiB, i + 1));
        ASSERT_OK((*open)->close());
      }
      const auto measured = fvd_json({"measure", "--json", "--chunk-size", chunk, source});
      fvd_ok({"convert", "--force", "-O", "fvd", "--chunk-size", chunk, source, copy});
      const std::uint64_t size = std::filesystem::file_size(copy);
      EXPECT_LE(size, measured["required"]) << chunk << " " << fill;
      EXPECT_GE(size + (40U << 20), measured["required"]) << "and not far from it";
      EXPECT_LE(measured["required"], measured["fully-allocated"]);
      EXPECT_EQ(measured["fully-allocated"],
                fvd_json({"measure", "--json", "--chunk-size", chunk, "--size", "64M"})["fully-allocated"]);
      if (fill == 64) {
        EXPECT_EQ(measured["required"], measured["fully-allocated"]);
      }
    }
  }
}

TEST_F(CliMeasure, RawDisksAreAsLargeAsTheyAre) {
  const std::string text = fvd_ok({"measure", "-O", "raw", "--size", "1G"});
  EXPECT_EQ(text, "required size: 1 GiB (1073741824 bytes)\nfully allocated size: 1 GiB (1073741824 bytes)\n");
  if (std::system("command -v qemu-img >/dev/null") != 0) GTEST_SKIP() << "qemu-img is not installed";
  const std::string said = directory.file("measure.json");
  ASSERT_EQ(std::system(("qemu-img measure -O raw --size 1G --output=json >" + said).c_str()), 0);
  std::ifstream in(said);
  EXPECT_EQ(nlohmann::json::parse(in), fvd_json({"measure", "-O", "raw", "--size", "1G", "--json"}));
}

TEST_F(CliMeasure, RefusesWhatCannotBe) {
  expect_failure(cli::kUsage, "SRC or --size", {"measure"});
  expect_failure(cli::kUsage, "exclude each other", {"measure", "--size", "1G", image});
  expect_failure(cli::kUsage, "goes with SRC", {"measure", "--size", "1G", "-s", "s1"});
  expect_failure(cli::kUsage, "not a size", {"measure", "--size", "big"});
  expect_failure(cli::kUsage, "raw or fvd", {"measure", "-O", "qcow2", image});
  expect_failure(cli::kUsage, "power of two", {"measure", "--chunk-size", "3M", image});
  expect_failure(cli::kUsage, "power of two", {"measure", "--chunk-size", "0", image});
  expect_failure(cli::kUsage, "64 TiB", {"measure", "--size", "65T"});
  expect_failure(cli::kFailure, "\"s9\"", {"measure", "-s", "s9", image});
  fvd_ok({"measure", "--chunk-size", "64M", image});
}

}  // namespace
}  // namespace fvd::test
