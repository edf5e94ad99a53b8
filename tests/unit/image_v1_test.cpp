// Original images (version 1) of all geometries, made by the test's own writer.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/v1_fixture.h"

namespace fvd::test {
namespace {

OpenOptions reading() {
  OpenOptions options;
  options.read_only = true;
  return options;
}

class ImageV1 : public V1CaseTest {};

TEST_P(ImageV1, ReadsWhatWasWritten) {
  const V1Options& options = GetParam().options;
  for_each_state([&](const V1Writer& writer, bool clean) {
    expect_sound();
    const auto image = Image::open(path_, reading());
    ASSERT_OK(image);
    EXPECT_EQ((*image)->info().format_version, 1U);
    EXPECT_EQ((*image)->info().was_clean, clean);
    EXPECT_TRUE((*image)->read_only());
    ASSERT_EQ(difference(writer.content(), read_all(**image)), "");
    // Extents leave nothing out, and what they call a hole is one.
    for (std::uint64_t at = 0; at < options.size;) {
      const auto extent = (*image)->extent(at);
      ASSERT_OK(extent);
      ASSERT_EQ(extent->offset, at);
      ASSERT_GT(extent->length, 0U);
      if (!extent->data) {
        ASSERT_EQ(difference(zeros(extent->length), read_range(**image, at, extent->length)), "") << at;
      }
      at += extent->length;
      ASSERT_LE(at, options.size);
    }
    // Odd ranges, also over the end.
    for (std::uint64_t at = 1; at < options.size; at += 99991) {
      const std::uint64_t length = std::min<std::uint64_t>(77777, options.size - at);
      const Bytes wanted(writer.content().begin() + static_cast<std::ptrdiff_t>(at),
                         writer.content().begin() + static_cast<std::ptrdiff_t>(at + length));
      ASSERT_EQ(difference(wanted, read_range(**image, at, length)), "") << at;
    }
  });
}

TEST_P(ImageV1, IsNotOpenedForWriting) {
  V1Writer writer(GetParam().options);
  write_some(writer);
  writer.save(path_, false);
  EXPECT_CODE(Code::kReadOnly, Image::open(path_, quiet()));
  auto image = Image::open(path_, reading());
  ASSERT_OK(image);
  EXPECT_CODE(Code::kReadOnly, (*image)->write(0, zeros(512)));
  EXPECT_CODE(Code::kReadOnly, (*image)->discard(0, 512));
  EXPECT_CODE(Code::kReadOnly, (*image)->resize(1 << 30, true));
  EXPECT_CODE(Code::kReadOnly, (*image)->snapshot_create("s1"));
  EXPECT_CODE(Code::kReadOnly, (*image)->flatten());
  EXPECT_CODE(Code::kNotFound, (*image)->snapshot_exclusive(5));
  EXPECT_OK((*image)->close());
}

FVD_INSTANTIATE_V1_CASES(ImageV1);

class ImageV1Files : public V1Test {
 protected:
  void SetUp() override {
    options_.base_path = "base.raw";
    options_.base = v1_base(300000);
    V1Writer writer(options_);
    write_some(writer);
    writer.save(path_, true);
  }
  void patch(std::uint64_t offset, const std::string& bytes) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }
  V1Options options_{.size = kMiB, .chunk_size = 65536};
};

TEST_F(ImageV1Files, NeedItsBaseAsItWas) {
  std::filesystem::resize_file(directory_.file("base.raw"), 200000);
  EXPECT_CODE(Code::kCorrupt, Image::open(path_, reading()));
  std::filesystem::resize_file(directory_.file("base.raw"), 400000);
  EXPECT_OK(Image::open(path_, reading()));
  std::fstream(directory_.file("base.raw"), std::ios::in | std::ios::out) << "QFI\xFB";
  EXPECT_CODE(Code::kUnsupported, Image::open(path_, reading()));
  std::filesystem::remove(directory_.file("base.raw"));
  const auto missing = Image::open(path_, reading());
  EXPECT_CODE(Code::kNotFound, missing);
  EXPECT_NE(missing.status().message().find("base.raw"), std::string::npos) << missing.status().message();
}

TEST_F(ImageV1Files, TellOfThemselvesWithoutTheirBase) {
  OpenOptions how = reading();
  how.without_base = true;
  {
    const auto there = Image::open(path_, how);
    ASSERT_OK(there);
    EXPECT_EQ((*there)->info().base_error, "");
  }
  const auto expect_missing = [&](Code code) {
    const auto image = Image::open(path_, how);
    ASSERT_OK(image);
    EXPECT_NE((*image)->info().base_error.find("base.raw"), std::string::npos) << (*image)->info().base_error;
    std::uint64_t in_base = 0;
    std::uint64_t elsewhere = 0;
    Bytes sector(kSectorSize);
    for (std::uint64_t at = 0; at < options_.size; at += sector.size()) {
      const auto read = (*image)->read(at, sector);
      ++(read ? elsewhere : in_base);
      if (!read) {
        EXPECT_CODE(code, read);
        EXPECT_CODE(code, (*image)->extent(at));
      }
    }
    EXPECT_GT(in_base, 0U);
    EXPECT_GT(elsewhere, 0U) << "what is in the image needs no base";
    EXPECT_OK((*image)->close());
  };
  std::filesystem::resize_file(directory_.file("base.raw"), 200000);
  expect_missing(Code::kCorrupt);
  std::filesystem::resize_file(directory_.file("base.raw"), 400000);
  std::fstream(directory_.file("base.raw"), std::ios::in | std::ios::out) << "QFI\xFB";
  expect_missing(Code::kUnsupported);
  std::filesystem::remove(directory_.file("base.raw"));
  expect_missing(Code::kNotFound);
}

TEST_F(ImageV1Files, RefuseAFileThatWasCutShort) {
  const std::uint64_t size = std::filesystem::file_size(path_);
  std::filesystem::resize_file(path_, size - 512);
  EXPECT_CODE(Code::kCorrupt, Image::open(path_, reading()));
  std::filesystem::resize_file(path_, 9000);
  EXPECT_CODE(Code::kCorrupt, Image::open(path_, reading()));
  std::filesystem::resize_file(path_, 100);
  EXPECT_CODE(Code::kCorrupt, Image::open(path_, reading()));
}

TEST_F(ImageV1Files, RefuseTheLayoutOfTheWiki) {
  patch(0, std::string("FVD\0", 4));
  const auto image = Image::open(path_, reading());
  EXPECT_CODE(Code::kUnsupported, image);
  EXPECT_NE(image.status().message().find("wiki"), std::string::npos);
}

TEST_F(ImageV1Files, RefuseAnotherVersion) {
  patch(4, "\x02");
  EXPECT_CODE(Code::kUnsupported, Image::open(path_, reading()));
}

TEST_F(ImageV1Files, CanBeReadBySeveralAtOnce) {
  const auto one = Image::open(path_, reading());
  ASSERT_OK(one);
  EXPECT_OK(Image::open(path_, reading()));
  EXPECT_CODE(Code::kReadOnly, Image::open(path_, quiet()));
}

}  // namespace
}  // namespace fvd::test
