#include <algorithm>
#include <array>
#include <fstream>

#include "cli_rig.h"

namespace fvd::test {
namespace {

class CliCheck : public CliImage {
 protected:
  void damage(std::uint64_t offset) {
    std::fstream file(image, std::ios::in | std::ios::out | std::ios::binary);
    std::array<char, 4> bytes{};
    file.seekg(static_cast<std::streamoff>(offset));
    file.read(bytes.data(), bytes.size());
    for (char& byte : bytes) byte = static_cast<char>(~byte);
    file.seekp(static_cast<std::streamoff>(offset));
    file.write(bytes.data(), bytes.size());
  }

  // File offset of the first place that holds `text`.
  std::uint64_t find(const std::string& text) {
    std::ifstream file(image, std::ios::binary);
    const std::string content(std::istreambuf_iterator<char>(file), {});
    return content.find(text);
  }
};

TEST_F(CliCheck, ASoundImageIsConsistent) {
  fvd_ok({"snapshot", "create", image, "s1"});
  const std::string said = fvd_ok({"check", image});
  EXPECT_NE(said.find(image + ": consistent\n"), std::string::npos) << said;
  EXPECT_NE(said.find(", 1 snapshot, "), std::string::npos) << said;
  const auto report = fvd_json({"check", "--json", image});
  EXPECT_EQ(report["image"], image);
  EXPECT_EQ(report["exit_status"], 0);
  EXPECT_EQ(report["corruptions"], 0);
  EXPECT_EQ(report["leaks"], 0);
  EXPECT_EQ(report["snapshots"], 1);
  EXPECT_EQ(report["clean"], true);
  EXPECT_EQ(report["findings"], nlohmann::json::array());
  for (const char* number : {"chunks_total", "chunks_used", "journal_records"}) {
    EXPECT_TRUE(report[number].is_number_unsigned()) << number;
  }
}

TEST_F(CliCheck, ADamagedStructureIsCorruption) {
  fvd_ok({"snapshot", "create", image, "s1"});
  damage(find("FVDSNAPS") + 64);
  const Outcome text = fvd({"check", image});
  EXPECT_EQ(text.status, 2) << text.out;
  EXPECT_NE(text.out.find("corruption: directory: "), std::string::npos) << text.out;
  EXPECT_EQ(text.err, "");
  const Outcome outcome = fvd({"check", "--json", image});
  EXPECT_EQ(outcome.status, 2);
  const auto report = outcome.json();
  EXPECT_EQ(report["exit_status"], 2);
  EXPECT_GE(report["corruptions"], 1);
  ASSERT_FALSE(report["findings"].empty());
  EXPECT_EQ(report["findings"][0]["kind"], "corruption");
  EXPECT_TRUE(report["findings"][0]["structure"].is_string());
  EXPECT_TRUE(report["findings"][0]["message"].is_string());
}

TEST_F(CliCheck, AnImageInUseIsNotChecked) {
  auto open = Image::open(image, {});
  ASSERT_OK(open);
  expect_failure(cli::kFailure, "mounted", {"check", image});
}

TEST_F(CliCheck, AnImageInUseIsCheckedByForce) {
  auto open = Image::open(image, {});
  ASSERT_OK(open);
  fvd_ok({"check", "-U", image});
  fvd_ok({"check", "--force-share", "--json", image});
  expect_failure(cli::kUsage, "exclude each other", {"check", "-U", "--repair", image});
  damage(24);  // as a writer might leave something for a moment
  const Outcome outcome = fvd({"check", "-U", image});
  EXPECT_EQ(outcome.status, 2) << outcome.out;
  EXPECT_NE(outcome.err.find("was written while it was checked"), std::string::npos) << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
}

TEST_F(CliCheck, ASoundImageNeedsNoRepair) {
  const std::string said = fvd_ok({"check", "--repair", image});
  EXPECT_NE(said.find(image + ": consistent\n"), std::string::npos) << said;
  EXPECT_EQ(said.find("repaired:"), std::string::npos) << said;
}

TEST_F(CliCheck, DamagedCountsAreMended) {
  fvd_ok({"snapshot", "create", image, "s1"});
  {
    auto open = Image::open(image, {});
    ASSERT_OK(open);
    ASSERT_OK((*open)->write(0, std::vector<std::byte>(4096, std::byte{1})));
  }
  fvd_ok({"snapshot", "create", image, "s2"});
  damage(find("FVDREFCT") + 64);
  EXPECT_EQ(fvd({"check", image}).status, 2);
  const Outcome text = fvd({"check", "--repair", image});
  EXPECT_EQ(text.status, 0) << text.out << text.err;
  EXPECT_NE(text.out.find("corruption: refcounts: "), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("repaired: "), std::string::npos) << text.out;
  EXPECT_NE(text.out.find(image + ": consistent\n"), std::string::npos) << text.out;
  const auto report = fvd_json({"check", "--repair", "--json", image});
  EXPECT_EQ(report["repaired"], nlohmann::json::array()) << "nothing is left for a second repair";
  EXPECT_EQ(report["found_before"], nlohmann::json::array());
  EXPECT_EQ(report["refused"], "");
}

TEST_F(CliCheck, WhatCannotBeMendedIsLeftAlone) {
  fvd_ok({"snapshot", "create", image, "s1"});
  damage(find("FVDSNAPS") + 64);
  const Outcome text = fvd({"check", "--repair", image});
  EXPECT_EQ(text.status, 2);
  EXPECT_NE(text.err.find("left as it is"), std::string::npos) << text.err;
  EXPECT_EQ(std::count(text.err.begin(), text.err.end(), '\n'), 1) << text.err;
}

TEST_F(CliCheck, GivingUpTheNewerSuperblockIsPartOfARepair) {
  expect_failure(cli::kUsage, "--older-superblock goes with --repair", {"check", "--older-superblock", image});
}

}  // namespace
}  // namespace fvd::test
