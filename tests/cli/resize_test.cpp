#include "cli_rig.h"

namespace fvd::test {
namespace {

class CliResize : public CliImage {
 protected:
  std::uint64_t size() { return fvd_json({"info", "--json", image})["virtual_size"]; }
};

TEST_F(CliResize, TakesSizesAbsoluteAndRelative) {
  EXPECT_EQ(fvd_ok({"resize", image, "100M"}), "resized " + image + ": 100 MiB (104857600 bytes)\n");
  EXPECT_EQ(size(), 100 * kMiB);
  fvd_ok({"resize", image, "+28M"});
  EXPECT_EQ(size(), 128 * kMiB);
  fvd_ok({"resize", image, "--shrink", "-64M"});
  EXPECT_EQ(size(), 64 * kMiB);
  fvd_ok({"resize", image, "67108865"});
  EXPECT_EQ(size(), 64 * kMiB + 512) << "rounded up to a sector";
  fvd_ok({"resize", image, "+0"});
  EXPECT_EQ(size(), 64 * kMiB + 512);
  EXPECT_EQ(fvd({"check", image}).status, 0);
}

TEST_F(CliResize, ShrinkingIsGuarded) {
  {
    auto open = Image::open(image, {});
    ASSERT_OK(open);
    write_all(**open, 10 * kMiB, pattern(1000, 1));
    write_all(**open, 50 * kMiB, zeros(5000));  // allocated, but zeros: nothing is lost
    take(**open, "s1");
    ASSERT_OK((*open)->close());
  }
  expect_failure(cli::kFailure, "--shrink", {"resize", image, "20M"});
  expect_failure(cli::kFailure, "offset 10486272", {"resize", "--shrink", image, "10485860"});
  EXPECT_EQ(size(), 64 * kMiB);
  fvd_ok({"resize", "--shrink", image, "11M"});
  EXPECT_EQ(size(), 11 * kMiB);
  fvd_ok({"resize", "--shrink", "--force", image, "1M"});
  EXPECT_EQ(size(), kMiB);
  EXPECT_EQ(fvd_json({"snapshot", "list", "--json", image})[0]["virtual_size"], 64 * kMiB);
  fvd_ok({"resize", image, "64M"});
  auto open = Image::open(image, {.read_only = true});
  ASSERT_OK(open);
  EXPECT_EQ(difference(zeros(64 * kMiB), read_all(**open)), "") << "what was cut off does not come back";
  EXPECT_EQ(difference(pattern(1000, 1),
                       [&] {
                         const Bytes all = read_snapshot(**open, "s1");
                         return Bytes(all.begin() + 10 * kMiB, all.begin() + 10 * kMiB + 1000);
                       }()),
            "");
}

TEST_F(CliResize, RefusesSizesThatNoDiskHas) {
  expect_failure(cli::kUsage, "not a size", {"resize", image, "big"});
  expect_failure(cli::kUsage, "not a size", {"resize", image, "+"});
  expect_failure(cli::kUsage, "not a size", {"resize", image, "+-1M"});
  expect_failure(cli::kUsage, "--shrink", {"resize", "--force", image, "1M"});
  // As fvd create has it: a size that no disk has is a mistake of who types it, however it is written.
  expect_failure(cli::kUsage, "64 TiB", {"create", directory.file("new.fvd"), "65T"});
  for (const char* too_large : {"65T", "16384P", "15.9999999999999999E", "+64T", "+15.9999999E"}) {
    expect_failure(cli::kUsage, "large", {"resize", image, too_large});
  }
  expect_failure(cli::kUsage, "nothing", {"resize", "--shrink", image, "-64M"});
  expect_failure(cli::kFailure, "No such", {"resize", directory.file("none.fvd"), "65T"});
  expect_failure(cli::kUsage, "512 bytes", {"resize", "--shrink", image, "0"});
  EXPECT_EQ(size(), 64 * kMiB);
}

TEST_F(CliResize, ChunksBoundTheSize) {
  const std::string small = directory.file("small.fvd");
  fvd_ok({"create", "--chunk-size", "64K", small, "1M"});
  expect_failure(cli::kUsage, "chunk", {"create", "--chunk-size", "64K", directory.file("new.fvd"), "17T"});
  expect_failure(cli::kUsage, "chunk", {"resize", small, "17T"});
  EXPECT_EQ(fvd_json({"info", "--json", small})["virtual_size"], kMiB);
}

}  // namespace
}  // namespace fvd::test
