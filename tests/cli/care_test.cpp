// compact and flatten.
#include <filesystem>
#include <fstream>

#include "cli_rig.h"

namespace fvd::test {
namespace {

class CliCare : public CliImage {
 protected:
  Bytes state(const std::string& path) {
    auto open = Image::open(path, {.read_only = true});
    EXPECT_OK(open);
    return open ? read_all(**open) : Bytes();
  }
};

TEST_F(CliCare, CompactGivesSpaceBackAndChangesNothing) {
  {
    auto open = Image::open(image, {});
    ASSERT_OK(open);
    write_all(**open, 0, pattern(20 * kMiB, 1));
    take(**open, "s1");
    write_all(**open, 4096, pattern(4096, 2));
    write_all(**open, 5 * kMiB, pattern(512, 3));
    ASSERT_OK((*open)->discard(10 * kMiB, 10 * kMiB));
    ASSERT_OK((*open)->close());
  }
  const Bytes wanted = state(image);
  EXPECT_EQ(fvd_json({"info", "--json", image})["partial_chunks"], 2);
  const std::string said = fvd_ok({"compact", image});
  EXPECT_TRUE(said.starts_with("compacted " + image + ": ")) << said;
  EXPECT_EQ(fvd_json({"info", "--json", image})["partial_chunks"], 0);
  fvd_ok({"snapshot", "delete", image, "s1"});
  fvd_ok({"compact", image});
  const auto info = fvd_json({"info", "--json", image});
  EXPECT_LT(info["host_allocated"], 15 * kMiB);
  EXPECT_LT(info["file_size"].get<std::uint64_t>() - info["journal_size"].get<std::uint64_t>(), 28 * kMiB);
  EXPECT_EQ(difference(wanted, state(image)), "");
  EXPECT_EQ(fvd({"check", image}).status, 0);
}

TEST_F(CliCare, FlattenCutsTheBaseLoose) {
  const std::string base = directory.file("base.raw");
  const Bytes content = pattern(5 * kMiB, 7);
  std::ofstream(base, std::ios::binary)
      .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
  const std::string clone = directory.file("clone.fvd");
  fvd_ok({"create", "-b", "base.raw", clone, "8M"});
  fvd_ok({"snapshot", "create", clone, "s1"});
  const Bytes wanted = state(clone);
  EXPECT_EQ(fvd_ok({"flatten", clone}), "flattened " + clone + ": it does not need base.raw any more\n");
  std::filesystem::remove(base);
  EXPECT_EQ(difference(wanted, state(clone)), "");
  EXPECT_TRUE(fvd_json({"info", "--json", clone})["base"].is_null());
  const std::string raw = directory.file("s1.raw");
  fvd_ok({"convert", "-s", "s1", clone, raw});
  EXPECT_EQ(fvd({"compare", clone, raw}).status, 0);
  EXPECT_EQ(fvd({"check", clone}).status, 0);
  EXPECT_EQ(fvd_ok({"flatten", clone}), clone + " has no base image: nothing to do\n");
}

TEST_F(CliCare, AnImageInUseIsLeftAlone) {
  auto open = Image::open(image, {});
  ASSERT_OK(open);
  expect_failure(cli::kFailure, "mounted", {"compact", image});
  expect_failure(cli::kFailure, "mounted", {"flatten", image});
}

}  // namespace
}  // namespace fvd::test
