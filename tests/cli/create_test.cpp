#include <filesystem>
#include <fstream>

#include "cli_rig.h"

namespace fvd::test {
namespace {

void write_file(const std::string& path, const std::string& content) { std::ofstream(path) << content; }

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class CliCreate : public ::testing::Test {
 protected:
  TemporaryDirectory directory;
  const std::string image = directory.file("disk.fvd");
};

TEST_F(CliCreate, MakesASparseImageOfThatSize) {
  const std::string said = fvd_ok({"create", image, "20G"});
  EXPECT_EQ(said, "created " + image + ": 20 GiB (21474836480 bytes)\n");
  const auto info = fvd_json({"info", "--json", image});
  EXPECT_EQ(info["virtual_size"], 20ULL << 30);
  EXPECT_EQ(info["chunk_size"], 1 << 20);
  EXPECT_EQ(info["block_size"], 4096);
  EXPECT_EQ(info["allocated"], 0);
  EXPECT_LT(info["host_allocated"], 8 << 20);
  EXPECT_EQ(info["clean"], true);
  EXPECT_EQ(fvd({"check", image}).status, 0);
}

TEST_F(CliCreate, RoundsUpToSectors) {
  fvd_ok({"create", image, "1000001"});
  EXPECT_EQ(fvd_json({"info", "--json", image})["virtual_size"], 1000448);
  const std::string other = directory.file("other.fvd");
  fvd_ok({"create", other, "1.5G"});
  EXPECT_EQ(fvd_json({"info", "--json", other})["virtual_size"], 3ULL << 29);
}

TEST_F(CliCreate, TakesTheUnits) {
  fvd_ok({"create", "--chunk-size", "64K", "--block-size=512", image, "1M"});
  const auto info = fvd_json({"info", "--json", image});
  EXPECT_EQ(info["chunk_size"], 65536);
  EXPECT_EQ(info["block_size"], 512);
}

TEST_F(CliCreate, NeverOverwritesUnlessForced) {
  write_file(image, "precious");
  expect_failure(cli::kFailure, image, {"create", image, "1G"});
  EXPECT_EQ(read_file(image), "precious");
  fvd_ok({"create", "--force", image, "1G"});
  EXPECT_EQ(fvd_json({"info", "--json", image})["virtual_size"], 1ULL << 30);
  expect_failure(cli::kFailure, "--force", {"create", image, "2G"});
  EXPECT_EQ(fvd_json({"info", "--json", image})["virtual_size"], 1ULL << 30);
}

TEST_F(CliCreate, NeverOverwritesAnImageInUseEvenWhenForced) {
  fvd_ok({"create", image, "1G"});
  auto open = Image::open(image, {});
  ASSERT_OK(open);
  expect_failure(cli::kFailure, "in use", {"create", "--force", image, "2G"});
  ASSERT_OK((*open)->close());
  open = Status(Code::kInvalid, "");
  EXPECT_EQ(fvd_json({"info", "--json", image})["virtual_size"], 1ULL << 30);
}

TEST_F(CliCreate, RefusesSizesThatNoImageHas) {
  expect_failure(cli::kUsage, "not a size", {"create", image, "big"});
  expect_failure(cli::kUsage, "not a size", {"create", image, "1G", "--chunk-size=x"});
  expect_failure(cli::kUsage, "power of two", {"create", image, "1G", "--chunk-size=8G"});
  expect_failure(cli::kUsage, "SIZE is missing", {"create", image});
  expect_failure(cli::kUsage, "512", {"create", image, "0"});
  expect_failure(cli::kUsage, "64 TiB", {"create", image, "65T"});
  expect_failure(cli::kUsage, "power of two", {"create", image, "1G", "--chunk-size", "3M"});
  expect_failure(cli::kUsage, "power of two", {"create", image, "1G", "--chunk-size", "32K"});
  expect_failure(cli::kUsage, "power of two", {"create", image, "1G", "--block-size", "256"});
  EXPECT_FALSE(std::filesystem::exists(image));
}

TEST_F(CliCreate, NamesTheFileWhereItCannotBeMade) {
  expect_failure(cli::kFailure, "/no/such/disk.fvd", {"create", "/no/such/disk.fvd", "1G"});
  expect_failure(cli::kFailure, "/dev/null", {"create", "--force", "/dev/null", "1G"});
  expect_failure(cli::kUsage, "empty", {"create", "", "1G"});
}

TEST_F(CliCreate, ShowsARawBaseThrough) {
  const std::string base = directory.file("base.raw");
  write_file(base, std::string(3 << 20, 'b'));
  fvd_ok({"create", "-b", base, "-F", "raw", image});
  const auto info = fvd_json({"info", "--json", image});
  EXPECT_EQ(info["virtual_size"], 3 << 20);
  EXPECT_EQ(info["base"]["path"], base);
  EXPECT_EQ(info["base"]["size"], 3 << 20);
  auto open = Image::open(image, {.read_only = true});
  ASSERT_OK(open);
  EXPECT_EQ(difference(Bytes(3 << 20, std::byte{'b'}), read_all(**open)), "");
}

TEST_F(CliCreate, ARelativeBaseCountsFromTheImageNotFromALinkToIt) {
  std::filesystem::create_directory(directory.file("images"));
  write_file(directory.file("images/base.raw"), std::string(8192, 'b'));
  write_file(directory.file("base.raw"), std::string(8192, 'x'));
  fvd_ok({"create", "-b", "base.raw", directory.file("images/disk.fvd")});
  std::filesystem::create_symlink("images/disk.fvd", image);
  fvd_ok({"convert", image, directory.file("out.raw")});
  EXPECT_EQ(read_file(directory.file("out.raw")), std::string(8192, 'b'));
}

TEST_F(CliCreate, ABaseIsNotReplacedByTheImageOnIt) {
  const std::string base = directory.file("base.raw");
  write_file(base, std::string(8192, 'b'));
  const std::string link = directory.file("link.fvd");
  std::filesystem::create_symlink(base, link);
  std::filesystem::create_hard_link(base, image);
  for (const std::string& path : {base, link, image}) {
    expect_failure(cli::kFailure, "its own base", {"create", "--force", "-b", "base.raw", path});
  }
  EXPECT_EQ(read_file(base), std::string(8192, 'b'));
}

TEST_F(CliCreate, RefusesBasesThatItCannotRead) {
  const std::string base = directory.file("base.qcow2");
  write_file(base, "QFI");
  expect_failure(cli::kFailure, "qcow2", {"create", "-b", base, "-F", "qcow2", image, "1G"});
  // What says itself that it is no raw disk is not taken for one unless that was asked for.
  write_file(base, std::string("QFI\xFB", 4) + std::string(4092, 'q'));
  expect_failure(cli::kFailure, "not raw but qcow2", {"create", "-b", base, image});
  const std::string fvd = directory.file("base.fvd");
  fvd_ok({"create", fvd, "1M"});
  expect_failure(cli::kFailure, "not raw but fvd", {"create", "-b", fvd, image});
  EXPECT_FALSE(std::filesystem::exists(image));
  fvd_ok({"create", "-b", base, "-F", "raw", image});
  std::filesystem::remove(image);
  expect_failure(cli::kFailure, "/no/such", {"create", "-b", "/no/such", image, "1G"});
  expect_failure(cli::kUsage, "--format", {"create", "-F", "raw", image, "1G"});
  EXPECT_FALSE(std::filesystem::exists(image));
}

}  // namespace
}  // namespace fvd::test
