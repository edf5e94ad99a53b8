// fvd upgrade: an original image (version 1) of any geometry becomes one of version 2 with the same content, or is
// refused and left alone.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/v1_fixture.h"

namespace fvd::test {
namespace {

Bytes bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  Bytes bytes(text.size());
  std::transform(text.begin(), text.end(), bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}

class ImageUpgrade : public V1CaseTest {};

bool is_in_place(const V1Options& options) {
  return options.data_path.empty() && (options.chunk_size & (options.chunk_size - 1)) == 0;
}

TEST_P(ImageUpgrade, KeepsTheContentOrRefuses) {
  const V1Options& options = GetParam().options;
  for_each_state([&](const V1Writer& writer, bool) {
    const Bytes before = bytes_of(path_);
    const auto upgraded = Image::upgrade(path_);
    if (!is_in_place(options)) {
      EXPECT_CODE(Code::kUnsupported, upgraded);
      EXPECT_NE(upgraded.status().message().find("fvd convert -O fvd"), std::string::npos);
      EXPECT_EQ(bytes_of(path_), before);
      return;
    }
    ASSERT_OK(upgraded);
    EXPECT_TRUE(*upgraded);
    expect_sound();
    if (!options.base_path.empty()) {
      EXPECT_EQ(bytes_of(directory_.file(options.base_path)), options.base);
    }
    {
      const auto image = Image::open(path_, quiet());
      ASSERT_OK(image);
      const ImageInfo info = (*image)->info();
      EXPECT_EQ(info.format_version, 2U);
      EXPECT_TRUE(info.was_clean);
      EXPECT_EQ(info.base_path, options.base_path);
      ASSERT_EQ(difference(writer.content(), read_all(**image)), "");
      // It is an image like others: it takes snapshots and writes, and grows with zeros.
      take(**image, "s1");
      Bytes wanted = writer.content();
      const Bytes piece = pattern(3 * 4096 + 512, 99);
      for (std::uint64_t at = 512; at + piece.size() < wanted.size(); at += 131072) {
        write_all(**image, at, piece);
        std::copy(piece.begin(), piece.end(), wanted.begin() + static_cast<std::ptrdiff_t>(at));
      }
      ASSERT_OK((*image)->resize(options.size + 2 * kMiB, false));
      wanted.resize(options.size + 2 * kMiB);
      ASSERT_EQ(difference(wanted, read_all(**image)), "");
      ASSERT_EQ(difference(writer.content(), read_snapshot(**image, "s1")), "");
      ASSERT_OK((*image)->close());
    }
    expect_sound();
    const auto again = Image::upgrade(path_);
    ASSERT_OK(again);
    EXPECT_FALSE(*again);
  });
}

FVD_INSTANTIATE_V1_CASES(ImageUpgrade);

class ImageUpgradeOf : public V1Test {
 protected:
  static V1Options over_base(std::uint64_t size, std::uint64_t chunk_size, std::uint32_t block_size) {
    V1Options options{.size = size, .chunk_size = chunk_size};
    options.base_path = "base.raw";
    options.base = v1_base(size / 2 + 100);
    options.block_size = block_size;
    return options;
  }
};

// Chunks of 32 MiB cannot have blocks of 512 bytes: those that would be mixed are filled from the base.
TEST_F(ImageUpgradeOf, BlocksThatVersion2CannotHave) {
  for (const std::uint64_t chunk_size : {std::uint64_t{0}, 32 * kMiB}) {
    V1Writer writer(over_base(34 * kMiB, chunk_size, 512));
    for (std::uint64_t i = 0; i < 60; ++i) writer.write(i * 123 * 512, pattern(512 * (1 + i % 3), i));
    writer.write(17 * kMiB - 1024, pattern(4096, 1));  // over the end of the base
    writer.save(path_, false);
    const auto upgraded = Image::upgrade(path_);
    ASSERT_OK(upgraded);
    const auto image = Image::open(path_, quiet());
    ASSERT_OK(image);
    EXPECT_EQ((*image)->info().block_size, chunk_size == 0 ? 512U : 2048U);
    EXPECT_EQ(difference(writer.content(), read_all(**image)), "");
  }
}

TEST_F(ImageUpgradeOf, AnImageWhoseBaseIsGone) {
  V1Writer writer(over_base(kMiB, 65536, 4096));
  write_some(writer);
  writer.save(path_, false);
  const Bytes before = bytes_of(path_);
  std::filesystem::remove(directory_.file("base.raw"));
  EXPECT_CODE(Code::kNotFound, Image::upgrade(path_));
  EXPECT_EQ(bytes_of(path_), before);
}

TEST_F(ImageUpgradeOf, AnImageInUse) {
  V1Writer writer(over_base(kMiB, 65536, 4096));
  writer.save(path_, true);
  OpenOptions reading;
  reading.read_only = true;
  const auto image = Image::open(path_, reading);
  ASSERT_OK(image);
  EXPECT_CODE(Code::kLocked, Image::upgrade(path_));
}

TEST_F(ImageUpgradeOf, AnImageOfVersion2InUse) {
  ASSERT_OK(Image::create(path_, small_chunks(kMiB)));
  const auto image = Image::open(path_, quiet());
  ASSERT_OK(image);
  const auto upgraded = Image::upgrade(path_);
  ASSERT_OK(upgraded);
  EXPECT_FALSE(*upgraded);
}

TEST_F(ImageUpgradeOf, WhatIsNoImage) {
  std::ofstream(path_) << "hello";
  EXPECT_CODE(Code::kInvalid, Image::upgrade(path_));
  EXPECT_CODE(Code::kNotFound, Image::upgrade(directory_.file("nothing")));
}

// A chunk named twice, which version 2 could hold, is damage in version 1.
TEST_F(ImageUpgradeOf, ADamagedLookupTable) {
  V1Writer writer({.size = kMiB, .chunk_size = 65536});
  writer.write(0, pattern(65536, 1));
  writer.write(65536, pattern(65536, 2));
  writer.save(path_, true);
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(writer.table_offset() + 4));
  file.write("\0\0\0\0", 4);
  file.close();
  const Bytes before = bytes_of(path_);
  EXPECT_CODE(Code::kCorrupt, Image::upgrade(path_));
  EXPECT_EQ(bytes_of(path_), before);
  auto opened = PosixFile::open(path_, {.read_only = true});
  ASSERT_OK(opened);
  EXPECT_NE(check_findings(**opened), "");
}

}  // namespace
}  // namespace fvd::test
