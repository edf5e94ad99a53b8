// The commands on original images (version 1): those that read work, those that write name fvd upgrade.
#include <filesystem>

#include "cli_rig.h"
#include "support/v1_writer.h"

namespace fvd::test {
namespace {

class CliV1 : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.base_path = "base.raw";
    options_.base = v1_base(600000);
    options_.block_size = 1536;
    writer_ = std::make_unique<V1Writer>(options_);
    write_some(*writer_);
    writer_->save(image, false);
  }
  void save(V1Options options) {
    writer_ = std::make_unique<V1Writer>(std::move(options));
    write_some(*writer_);
    writer_->save(image, true);
  }
  void expect_content(const std::string& path) {
    OpenOptions reading;
    reading.read_only = true;
    const auto opened = Image::open(path, reading);
    ASSERT_OK(opened);
    EXPECT_EQ(difference(writer_->content(), read_all(**opened)), "");
  }

  V1Options options_{.size = kMiB, .chunk_size = 65536};
  std::unique_ptr<V1Writer> writer_;
  TemporaryDirectory directory;
  const std::string image = directory.file("old.fvd");
};

TEST_F(CliV1, ReadingCommandsWork) {
  const auto info = fvd_json({"info", "--json", image});
  EXPECT_EQ(info["format_version"], 1);
  EXPECT_EQ(info["chunk_size"], 65536);
  EXPECT_EQ(info["block_size"], 1536);
  EXPECT_EQ(info["clean"], false);
  EXPECT_EQ(info["read_only"], true);
  EXPECT_TRUE(info["uuid"].is_null());
  EXPECT_TRUE(info["data_file"].is_null());
  EXPECT_EQ(info["base"]["path"], "base.raw");
  EXPECT_NE(fvd_ok({"info", image}).find("version 1"), std::string::npos);
  EXPECT_EQ(fvd_ok({"tree", image}), "(current-state)\n\n(current-state)\n");
  EXPECT_EQ(fvd_json({"snapshot", "list", "--json", image}).size(), 0U);
  EXPECT_NE(fvd_ok({"map", image}).find("base.raw"), std::string::npos);
  EXPECT_GE(fvd_json({"map", "--json", image}).size(), 3U);
  EXPECT_NE(fvd_ok({"check", image}).find("consistent"), std::string::npos);
  const std::string raw = directory.file("disk.raw");
  fvd_ok({"convert", image, raw});
  EXPECT_EQ(fvd_ok({"compare", image, raw}), "The disks are identical.\n");
  const std::string copy = directory.file("new.fvd");
  fvd_ok({"convert", "-O", "fvd", image, copy});
  expect_content(copy);
  EXPECT_NE(fvd_ok({"measure", image}), "");
}

TEST_F(CliV1, WritingCommandsNameUpgrade) {
  for (const cli::Arguments& command :
       {cli::Arguments{"snapshot", "create", image, "s1"}, cli::Arguments{"snapshot", "goto", image, "s1"},
        cli::Arguments{"resize", image, "+1M"}, cli::Arguments{"compact", image}, cli::Arguments{"flatten", image}}) {
    expect_failure(cli::kFailure, "fvd upgrade " + image, command);
  }
}

TEST_F(CliV1, CheckFindsDamage) {
  std::filesystem::resize_file(image, std::filesystem::file_size(image) - 65536);
  const Outcome outcome = fvd({"check", image});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.out.find("corruption: table"), std::string::npos) << outcome.out;
  const Outcome repair = fvd({"check", "--repair", image});
  EXPECT_EQ(repair.status, 2);
  EXPECT_NE(repair.err.find("version 1"), std::string::npos) << repair.err;
}

TEST_F(CliV1, ConvertSparesTheDataFile) {
  save({.size = kMiB, .data_path = "old.data"});
  EXPECT_EQ(fvd_json({"info", "--json", image})["data_file"], "old.data");
  EXPECT_NE(fvd_ok({"map", image}).find("old.data"), std::string::npos);
  expect_failure(cli::kFailure, "what is read from", {"convert", "--force", image, directory.file("old.data")});
  expect_content(image);
}

TEST_F(CliV1, UpgradeKeepsTheContent) {
  EXPECT_EQ(fvd_ok({"upgrade", image}), "upgraded " + image + " to version 2\n");
  expect_content(image);
  EXPECT_EQ(fvd_json({"info", "--json", image})["format_version"], 2);
  EXPECT_EQ(fvd_ok({"upgrade", image}), image + " is of version 2 already: nothing to do\n");
  fvd_ok({"snapshot", "create", image, "s1"});
  EXPECT_EQ(fvd({"check", image}).status, cli::kSuccess);
  expect_content(image);
}

TEST_F(CliV1, UpgradeNamesConvertWhereItCannotBe) {
  V1Options odd = options_;
  odd.chunk_size = 36864;
  save(odd);
  expect_failure(cli::kFailure, "fvd convert -O fvd " + image, {"upgrade", image});
  V1Options apart = options_;
  apart.data_path = "old.data";
  save(apart);
  expect_failure(cli::kFailure, "fvd convert -O fvd " + image, {"upgrade", image});
  fvd_ok({"convert", "-O", "fvd", image, directory.file("new.fvd")});
  expect_content(directory.file("new.fvd"));
}

TEST_F(CliV1, UpgradeNeedsTheBase) {
  std::filesystem::remove(directory.file("base.raw"));
  expect_failure(cli::kFailure, "base.raw", {"upgrade", image});
}

}  // namespace
}  // namespace fvd::test
