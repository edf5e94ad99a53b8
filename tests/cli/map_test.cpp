// map and diff. What qemu-img map says of a raw copy is what fvd map must say of the disk.
#include <cstdlib>
#include <fstream>

#include "cli_rig.h"

namespace fvd::test {
namespace {

class CliMap : public CliImage {
 protected:
  void SetUp() override {
    CliImage::SetUp();
    auto open = Image::open(image, {});
    ASSERT_OK(open);
    write_all(**open, 4 * kMiB, pattern(2 * kMiB, 1));
    write_all(**open, 30 * kMiB + 8192, pattern(4096, 2));
    take(**open, "s1");
    write_all(**open, 5 * kMiB + 4096, pattern(8192, 3));
    ASSERT_OK((*open)->close());
  }
};

TEST_F(CliMap, MapNamesEveryByteOnce) {
  const auto extents = fvd_json({"map", "--json", image});
  std::uint64_t at = 0;
  std::ifstream file(image, std::ios::binary);
  auto open = Image::open(image, {.read_only = true});
  ASSERT_OK(open);
  for (const auto& e : extents) {
    EXPECT_EQ(e["start"], at);
    const std::uint64_t length = e["length"];
    EXPECT_NE(e["zero"], e["data"]);
    EXPECT_EQ(e["depth"], 0);
    EXPECT_EQ(e["present"], e.contains("offset"));
    if (e["data"]) {
      Bytes stored(length);
      file.seekg(e["offset"].get<std::streamoff>());
      file.read(reinterpret_cast<char*>(stored.data()), static_cast<std::streamsize>(length));
      EXPECT_EQ(difference(read_range(**open, at, length), stored), "") << at;
    }
    at += length;
  }
  EXPECT_EQ(at, 64 * kMiB);
}

TEST_F(CliMap, MapForPeople) {
  const std::string text = fvd_ok({"map", "-s", "s1", image});
  EXPECT_TRUE(text.starts_with("OFFSET  ")) << text;
  EXPECT_NE(text.find("\n0         4194304   zeros  -"), std::string::npos) << text;
  EXPECT_NE(text.find("  data   "), std::string::npos) << text;
  EXPECT_NE(text.find(image + "\n"), std::string::npos) << text;
  expect_failure(cli::kFailure, "\"s9\"", {"map", "-s", "s9", image});
  expect_failure(cli::kFailure, "no snapshot \"\"", {"diff", image, "", "current-state"});
}

TEST_F(CliMap, DataIsWhereQemuImgSeesItInARawCopy) {
  if (std::system("command -v qemu-img >/dev/null") != 0) GTEST_SKIP() << "qemu-img is not installed";
  const std::string raw = directory.file("raw");
  const std::string said = directory.file("map.json");
  fvd_ok({"convert", image, raw});
  ASSERT_EQ(std::system(("qemu-img map -f raw --output=json " + raw + " >" + said).c_str()), 0);
  std::ifstream in(said);
  const auto theirs = nlohmann::json::parse(in);
  const auto data_of = [](const nlohmann::json& extents) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> runs;
    for (const auto& e : extents) {
      if (!e["data"]) continue;
      const std::uint64_t start = e["start"];
      if (!runs.empty() && runs.back().first + runs.back().second == start) {
        runs.back().second += e["length"].get<std::uint64_t>();
      } else {
        runs.emplace_back(start, e["length"]);
      }
    }
    return runs;
  };
  EXPECT_EQ(data_of(fvd_json({"map", "--json", image})), data_of(theirs));
}

TEST_F(CliMap, DiffNamesBlocks) {
  EXPECT_EQ(fvd_ok({"diff", image, "s1", "current-state"}), "OFFSET   LENGTH\n5246976  8192\n");
  const auto json = fvd_json({"diff", "--json", image, "s1", "current-state"});
  EXPECT_EQ(json["a"]["name"], "s1");
  EXPECT_EQ(json["b"]["name"], "current-state");
  EXPECT_EQ(json["b"]["virtual_size"], 64 * kMiB);
  EXPECT_EQ(json["total"], 8192);
  ASSERT_EQ(json["extents"].size(), 1U);
  EXPECT_EQ(json["extents"][0]["start"], 5 * kMiB + 4096);
  EXPECT_EQ(json["extents"][0]["length"], 8192);
  EXPECT_EQ(fvd_json({"diff", "--json", image, "s1", "s1"})["extents"], nlohmann::json::array());
  expect_failure(cli::kFailure, "fvd snapshot list", {"diff", image, "s1", "s9"});
}

TEST_F(CliMap, AMountedImageIsSharedByForceOnly) {
  auto open = Image::open(image, {});
  ASSERT_OK(open);
  expect_failure(cli::kFailure, "mounted", {"map", image});
  expect_failure(cli::kFailure, "mounted", {"diff", image, "s1", "current-state"});
  fvd_ok({"map", "-U", image});
  fvd_ok({"diff", "-U", image, "s1", "current-state"});
}

}  // namespace
}  // namespace fvd::test
