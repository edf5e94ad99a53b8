// Flattening: no state changes, and the base is not needed any more. What a crash leaves is shown by tests/crash.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "io/posix_file.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kBaseSize = 6 * kSmallChunk + 5 * 512;

class ImageFlatten : public ::testing::Test {
 protected:
  void SetUp() override {
    std::fill(content_.begin() + 4 * kSmallChunk, content_.begin() + 5 * kSmallChunk, std::byte{0});
    std::ofstream(base_, std::ios::binary)
        .write(reinterpret_cast<const char*>(content_.data()), static_cast<std::streamsize>(content_.size()));
    options_.base_path = base_;
    ASSERT_OK(Image::create(path_, options_));
  }
  std::unique_ptr<Image> open() {
    auto image = Image::open(path_, quiet());
    EXPECT_OK(image);
    return image ? std::move(image).value() : nullptr;
  }
  void expect_sound() const {
    auto file = PosixFile::open(path_, {.read_only = true});
    ASSERT_OK(file);
    EXPECT_EQ(check_findings(**file), "");
  }

  TemporaryDirectory directory_;
  const std::string base_ = directory_.file("base.raw");
  const std::string path_ = directory_.file("image");
  Bytes content_ = pattern(kBaseSize, 42);
  CreateOptions options_ = small_chunks(10 * kSmallChunk);
};

TEST_F(ImageFlatten, EveryStateIsTheSameWithoutTheBase) {
  Bytes s1;
  Bytes s2;
  Bytes current;
  {
    const auto image = open();
    write_all(*image, 100, pattern(9000, 1));
    s1 = read_all(*image);
    take(*image, "s1");
    write_all(*image, 20480, pattern(4096, 2));
    ASSERT_OK(image->discard(2 * kSmallChunk, kSmallChunk));
    ASSERT_OK(image->resize(5 * kSmallChunk + 512, true));
    s2 = read_all(*image);
    take(*image, "s2");
    write_all(*image, kSmallChunk + 4096, pattern(4096, 3));
    ASSERT_OK(image->resize(20 * kSmallChunk, false));
    current = read_all(*image);
    std::uint64_t last = 0;
    std::uint64_t all = 0;
    ASSERT_OK(image->flatten([&](std::uint64_t done, std::uint64_t total) {
      EXPECT_GE(done, last);
      EXPECT_LT(done, total);
      last = done;
      all = total;
      return true;
    }));
    EXPECT_NE(all, 0U);
    const ImageInfo info = image->info();
    EXPECT_EQ(info.base_path, "");
    EXPECT_EQ(info.base_size, 0U);
    EXPECT_EQ(std::count(info.features.begin(), info.features.end(), "base-image"), 0);
    ASSERT_EQ(std::remove(base_.c_str()), 0);
    EXPECT_EQ(difference(current, read_all(*image)), "");
    EXPECT_EQ(difference(s1, read_snapshot(*image, "s1")), "");
    EXPECT_EQ(difference(s2, read_snapshot(*image, "s2")), "");
    // And it goes on as an image without one.
    write_all(*image, 3 * kSmallChunk, pattern(512, 4));
    std::copy_n(pattern(512, 4).begin(), 512, current.begin() + 3 * kSmallChunk);
    EXPECT_EQ(difference(s1, read_snapshot(*image, "s1")), "");
    ASSERT_OK(image->flatten());  // nothing is left to do
    ASSERT_OK(image->close());
  }
  expect_sound();
  const auto image = open();
  EXPECT_EQ(difference(current, read_all(*image)), "");
  EXPECT_EQ(difference(s1, read_snapshot(*image, "s1")), "");
  EXPECT_EQ(difference(s2, read_snapshot(*image, "s2")), "");
  ASSERT_OK(image->snapshot_goto("s1"));
  ASSERT_OK(image->snapshot_delete("s2"));
  EXPECT_EQ(difference(s1, read_all(*image)), "");
  ASSERT_OK(image->close());
  expect_sound();
}

TEST_F(ImageFlatten, ZerosOfTheBaseTakeNoSpace) {
  const auto image = open();
  ASSERT_OK(image->flatten());
  const auto extent = image->extent(4 * kSmallChunk);
  ASSERT_OK(extent);
  EXPECT_EQ(extent->place, Extent::Place::kNowhere);
  EXPECT_EQ(image->allocated(), 6 * kSmallChunk) << "all chunks of the base but the one of zeros";
}

TEST_F(ImageFlatten, AskedToEndItChangesNothing) {
  const auto image = open();
  write_all(*image, 100, pattern(100, 1));
  const Bytes before = read_all(*image);
  const std::uint64_t used = image->info().chunks_used;
  int calls = 0;
  EXPECT_CODE(Code::kBusy, image->flatten([&](std::uint64_t, std::uint64_t) { return ++calls < 4; }));
  EXPECT_EQ(calls, 4);
  EXPECT_EQ(image->info().base_path, base_);
  EXPECT_EQ(image->info().chunks_used, used);
  EXPECT_EQ(difference(before, read_all(*image)), "");
  ASSERT_OK(image->flatten());
  EXPECT_EQ(difference(before, read_all(*image)), "");
}

TEST_F(ImageFlatten, AnOpenSnapshotKeepsItOut) {
  const auto image = open();
  const SnapshotId s1 = take(*image, "s1");
  auto reader = image->open_snapshot(s1);
  ASSERT_OK(reader);
  EXPECT_CODE(Code::kBusy, image->flatten());
  reader = Status(Code::kInvalid, "");
  Status opened;
  ASSERT_OK(image->flatten([&](std::uint64_t, std::uint64_t) {
    opened = image->open_snapshot(s1).status();
    return true;
  }));
  EXPECT_CODE(Code::kBusy, opened);
  EXPECT_EQ(read_snapshot(*image, "s1").size(), 10 * kSmallChunk);
}

}  // namespace
}  // namespace fvd::test
