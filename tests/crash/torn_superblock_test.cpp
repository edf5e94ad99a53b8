// The superblock that cuts a base image loose, and the one after it, differ from what was in their slot in more than
// the first sector when the base's path is long. Whatever sectors of such a write a power cut leaves, it is no damage.
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>

#include "format/header.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

using Page = std::array<std::byte, 4096>;

constexpr std::uint64_t kSize = 4 * kSmallChunk;

class TornSuperblock : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string directory = directory_.file(std::string(200, 'd') + "/" + std::string(200, 'e'));
    std::filesystem::create_directories(directory);
    CreateOptions options = small_chunks(kSize);
    options.base_path = directory + "/base";
    std::ofstream(options.base_path) << std::string(2 * kSmallChunk, 'b');
    disk_ = make_disk(options);
    image_ = open_disk(*disk_);
    take(*image_, "s1");
    take(*image_, "s2");
    wanted_ = read_all(*image_);
    Page page;
    ASSERT_OK(disk_->open()->read(0, page));
    const auto header = format::Header::decode(page);
    ASSERT_OK(header);
    slots_ = header->superblock_offset;
  }

  std::array<Page, 2> slots() const {
    std::array<Page, 2> pages;
    for (std::size_t i = 0; i < 2; ++i) EXPECT_OK(disk_->open()->read(slots_[i], pages[i]));
    return pages;
  }

  // Cuts the superblock write of `act` so that each mixture of old and new sectors is left in turn. (All of the new
  // ones would need what the operation had written before.)
  void expect_no_damage(const std::function<Status()>& act) {
    const std::array<Page, 2> before = slots();
    const auto disk = disk_->clone();
    ASSERT_OK(act());
    const std::array<Page, 2> after = slots();
    const std::size_t slot = before[0] != after[0] ? 0 : 1;
    ASSERT_EQ(before[1 - slot], after[1 - slot]);
    std::vector<std::size_t> changed;
    for (std::size_t at = 0; at < 4096; at += 512) {
      if (!std::equal(&before[slot][at], &before[slot][at] + 512, &after[slot][at])) changed.push_back(at);
    }
    ASSERT_GE(changed.size(), 2U) << "the path is too short for this test";
    for (std::uint32_t mask = 0; mask + 1 < (1U << changed.size()); ++mask) {
      SCOPED_TRACE("mask " + std::to_string(mask));
      Page torn = before[slot];
      for (std::size_t i = 0; i < changed.size(); ++i) {
        if ((mask >> i & 1) != 0) std::copy_n(&after[slot][changed[i]], 512, &torn[changed[i]]);
      }
      const auto copy = disk->clone();
      const auto file = copy->open();
      ASSERT_OK(file->write(slots_[slot], torn));
      ASSERT_OK(file->sync());
      EXPECT_EQ(check_findings(*copy->open()), "");
      const auto opened = open_disk(*copy);
      ASSERT_NE(opened, nullptr);
      EXPECT_EQ(difference(wanted_, read_all(*opened)), "");
    }
  }

  TemporaryDirectory directory_;
  std::shared_ptr<CrashDisk> disk_;
  std::unique_ptr<Image> image_;
  Bytes wanted_;
  std::array<std::uint64_t, 2> slots_{};
};

TEST_F(TornSuperblock, OfFlattening) {
  expect_no_damage([this] { return image_->flatten(); });
}

TEST_F(TornSuperblock, AfterFlattening) {
  ASSERT_OK(image_->flatten());
  expect_no_damage([this] { return image_->snapshot_rename("s1", "golden"); });
}

}  // namespace
}  // namespace fvd::test
