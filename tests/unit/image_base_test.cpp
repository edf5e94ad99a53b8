// An image over a raw base image: reads fall through, writes never reach it.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kBaseSize = 3 * kSmallChunk + 5 * 512;

class ImageBase : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(base_, std::ios::binary)
        .write(reinterpret_cast<const char*>(content_.data()), static_cast<std::streamsize>(content_.size()));
    options_.base_path = base_;
    options_.base_format = "raw";
  }
  void TearDown() override {
    std::ifstream in(base_, std::ios::binary);
    Bytes now(kBaseSize);
    in.read(reinterpret_cast<char*>(now.data()), static_cast<std::streamsize>(now.size()));
    EXPECT_EQ(difference(content_, now), "") << "the base image was written";
  }
  std::unique_ptr<Image> open() {
    auto image = Image::open(path_, quiet());
    EXPECT_OK(image);
    return image ? std::move(image).value() : nullptr;
  }

  TemporaryDirectory directory_;
  std::string base_ = directory_.file("base.raw");
  std::string path_ = directory_.file("image");
  Bytes content_ = pattern(kBaseSize, 42);
  CreateOptions options_ = small_chunks(0);
};

TEST_F(ImageBase, ReadsFallThrough) {
  ASSERT_OK(Image::create(path_, options_));
  const auto image = open();
  EXPECT_EQ(image->virtual_size(), kBaseSize);
  EXPECT_EQ(difference(content_, read_all(*image)), "");
  const ImageInfo info = image->info();
  EXPECT_EQ(info.base_path, base_);
  EXPECT_EQ(info.base_format, "raw");
  EXPECT_EQ(info.base_size, kBaseSize);
  EXPECT_EQ(std::count(info.features.begin(), info.features.end(), "base-image"), 1);
}

TEST_F(ImageBase, ALargerDiskReadsZerosPastTheBase) {
  options_.virtual_size = 10 * kSmallChunk;
  ASSERT_OK(Image::create(path_, options_));
  const auto image = open();
  Bytes wanted = content_;
  wanted.resize(10 * kSmallChunk);
  EXPECT_EQ(difference(wanted, read_all(*image)), "");
}

TEST_F(ImageBase, WritesSnapshotsAndDiscardsOverIt) {
  ASSERT_OK(Image::create(path_, options_));
  Bytes wanted = content_;
  {
    const auto image = open();
    for (const std::uint64_t offset : {100U, 70000U, 131072U, 190000U}) {
      const Bytes data = pattern(3000, offset);
      write_all(*image, offset, data);
      std::copy(data.begin(), data.end(), wanted.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    EXPECT_EQ(difference(wanted, read_all(*image)), "");
    take(*image, "s");
    ASSERT_OK(image->discard(kSmallChunk, kSmallChunk));
    ASSERT_OK(image->discard(1000, 100));
    write_all(*image, 2 * kSmallChunk, pattern(512, 7));
  }
  const auto image = open();
  EXPECT_EQ(difference(wanted, read_snapshot(*image, "s")), "");
  std::fill_n(wanted.begin() + kSmallChunk, kSmallChunk, std::byte{0});
  std::fill_n(wanted.begin() + 1000, 100, std::byte{0});
  const Bytes data = pattern(512, 7);
  std::copy(data.begin(), data.end(), wanted.begin() + 2 * kSmallChunk);
  EXPECT_EQ(difference(wanted, read_all(*image)), "");
}

TEST_F(ImageBase, ShrinkingAndGrowingDoesNotBringTheBaseBack) {
  ASSERT_OK(Image::create(path_, options_));
  Bytes wanted = content_;
  {
    const auto image = open();
    ASSERT_OK(image->resize(kSmallChunk + 512, true));
    ASSERT_OK(image->resize(kBaseSize, false));
    wanted.resize(kSmallChunk + 512);
    wanted.resize(kBaseSize);
    EXPECT_EQ(difference(wanted, read_all(*image)), "");
  }
  EXPECT_EQ(difference(wanted, read_all(*open())), "");
}

TEST_F(ImageBase, AMissingBaseIsNamed) {
  ASSERT_OK(Image::create(path_, options_));
  const std::string elsewhere = directory_.file("moved.raw");
  ASSERT_EQ(std::rename(base_.c_str(), elsewhere.c_str()), 0);
  const auto opened = Image::open(path_, quiet());
  EXPECT_FALSE(opened.is_ok());
  EXPECT_NE(opened.status().message().find(base_), std::string::npos) << opened.status().message();
  ASSERT_EQ(std::rename(elsewhere.c_str(), base_.c_str()), 0);
}

}  // namespace
}  // namespace fvd::test
