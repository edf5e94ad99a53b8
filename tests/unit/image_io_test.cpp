// Reading, writing, discarding and resizing current-state.
#include <gtest/gtest.h>

#include <algorithm>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 8 * kSmallChunk + 1536;

class ImageIo : public ::testing::Test {
 protected:
  void reopen() {
    ASSERT_OK(image_->close());
    image_.reset();
    expect_sound(*disk_);
    image_ = open_disk(*disk_);
    ASSERT_NE(image_, nullptr);
  }
  void expect_content(const Bytes& wanted) { EXPECT_EQ(difference(wanted, read_all(*image_)), ""); }
  static void put(Bytes* bytes, std::uint64_t offset, const Bytes& data) {
    std::copy(data.begin(), data.end(), bytes->begin() + static_cast<std::ptrdiff_t>(offset));
  }

  std::shared_ptr<CrashDisk> disk_ = make_disk(small_chunks(kSize));
  std::unique_ptr<Image> image_ = open_disk(*disk_);
};

TEST_F(ImageIo, AFreshDiskReadsAsZerosAndIsOneHole) {
  expect_content(zeros(kSize));
  EXPECT_EQ(image_->allocated(), 0U);
  EXPECT_CODE(Code::kNotFound, image_->seek_data(0));
  const auto hole = image_->seek_hole(0);
  ASSERT_OK(hole);
  EXPECT_EQ(*hole, 0U);
}

TEST_F(ImageIo, WritesOfEveryAlignment) {
  Bytes wanted = zeros(kSize);
  std::uint64_t seed = 0;
  for (const std::uint64_t offset : {0U, 1U, 511U, 512U, 4095U, 4096U, 65535U, 65536U, 65537U, 200000U}) {
    for (const std::size_t length : {1U, 2U, 511U, 512U, 513U, 4096U, 4097U, 65536U, 70000U}) {
      const Bytes data = pattern(length, ++seed);
      write_all(*image_, offset, data);
      put(&wanted, offset, data);
      ASSERT_EQ(difference(wanted, read_all(*image_)), "") << offset << "+" << length;
    }
  }
  reopen();
  expect_content(wanted);
}

TEST_F(ImageIo, ReadsOfEveryAlignment) {
  const Bytes content = pattern(kSize, 3);
  write_all(*image_, 0, content);
  for (const std::uint64_t offset : {0U, 1U, 511U, 4095U, 65535U, 65536U, 131000U}) {
    for (const std::size_t length : {1U, 513U, 4097U, 65536U, 140000U}) {
      const auto begin = content.begin() + static_cast<std::ptrdiff_t>(offset);
      ASSERT_EQ(
          difference(Bytes(begin, begin + static_cast<std::ptrdiff_t>(length)), read_range(*image_, offset, length)),
          "")
          << offset << "+" << length;
    }
  }
}

TEST_F(ImageIo, WritesAtThePastAndAcrossTheEnd) {
  EXPECT_CODE(Code::kNoSpace, image_->write(kSize, pattern(1, 1)));
  EXPECT_CODE(Code::kNoSpace, image_->write(kSize + 4096, pattern(1, 1)));
  EXPECT_CODE(Code::kNoSpace, image_->write(UINT64_MAX - 1, pattern(10, 1)));
  const auto crossing = image_->write(kSize - 100, pattern(500, 1));
  ASSERT_OK(crossing);
  EXPECT_EQ(*crossing, 100U);
  Bytes wanted = zeros(kSize);
  Bytes written = pattern(500, 1);
  written.resize(100);
  put(&wanted, kSize - 100, written);
  expect_content(wanted);
}

TEST_F(ImageIo, ReadsAtAndPastTheEndComeShort) {
  Bytes bytes(1000);
  for (const auto& [offset, length] :
       {std::pair<std::uint64_t, std::size_t>{kSize, 0}, {kSize - 10, 10}, {kSize + 70000, 0}, {UINT64_MAX - 1, 0}}) {
    const auto n = image_->read(offset, bytes);
    ASSERT_OK(n);
    EXPECT_EQ(*n, length) << offset;
  }
  EXPECT_CODE(Code::kInvalid, image_->extent(kSize));
  EXPECT_CODE(Code::kNotFound, image_->seek_data(kSize));
}

TEST_F(ImageIo, ExtentsAndSeeksTellDataFromHoles) {
  write_all(*image_, 2 * kSmallChunk, pattern(kSmallChunk, 1));
  write_all(*image_, 5 * kSmallChunk + 8192, pattern(4096, 2));
  const auto first = image_->seek_data(0);
  ASSERT_OK(first);
  EXPECT_EQ(*first, 2 * kSmallChunk);
  const auto hole = image_->seek_hole(*first);
  ASSERT_OK(hole);
  EXPECT_EQ(*hole, 3 * kSmallChunk);
  const auto second = image_->seek_data(*hole);
  ASSERT_OK(second);
  EXPECT_EQ(*second, 5 * kSmallChunk + 8192);
  const auto end = image_->seek_hole(*second);
  ASSERT_OK(end);
  EXPECT_EQ(*end, 5 * kSmallChunk + 12288);
  EXPECT_CODE(Code::kNotFound, image_->seek_data(*end));
}

TEST_F(ImageIo, DiscardReadsAsZerosAndGivesChunksBack) {
  write_all(*image_, 0, pattern(kSize, 1));
  ASSERT_OK(image_->flush());
  const std::uint64_t full = image_->allocated();
  const std::uint64_t host = *disk_->open()->allocated();
  ASSERT_OK(image_->discard(kSmallChunk, 4 * kSmallChunk));
  Bytes wanted = pattern(kSize, 1);
  std::fill_n(wanted.begin() + kSmallChunk, 4 * kSmallChunk, std::byte{0});
  expect_content(wanted);
  EXPECT_EQ(image_->allocated(), full - 4 * kSmallChunk);
  reopen();
  expect_content(wanted);
  EXPECT_LE(*disk_->open()->allocated() + 3 * kSmallChunk, host) << "freed chunks are punched";
}

TEST_F(ImageIo, DiscardOfOddRanges) {
  Bytes wanted = pattern(kSize, 1);
  write_all(*image_, 0, wanted);
  take(*image_, "s");
  for (const auto& [offset, length] : {std::pair<std::uint64_t, std::uint64_t>{1, 1},
                                       {1000, 3000},
                                       {4096, 4096},
                                       {60000, 10000},
                                       {3 * kSmallChunk - 5, kSmallChunk + 10},
                                       {kSize - 700, 700}}) {
    ASSERT_OK(image_->discard(offset, length));
    std::fill_n(wanted.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
    ASSERT_EQ(difference(wanted, read_all(*image_)), "") << offset << "+" << length;
  }
  EXPECT_OK(image_->discard(kSize - 512, kMiB));
  EXPECT_OK(image_->discard(kSize + 512, 512));
  EXPECT_OK(image_->discard(0, 0));
  std::fill_n(wanted.end() - 512, 512, std::byte{0});
  reopen();
  expect_content(wanted);
  EXPECT_EQ(difference(pattern(kSize, 1), read_snapshot(*image_, "s")), "");
}

TEST_F(ImageIo, FreedChunksAreReusedAndNeverShowTheirPast) {
  for (int round = 0; round < 5; ++round) {
    write_all(*image_, 0, pattern(kSize, 1));
    ASSERT_OK(image_->flush());
    ASSERT_OK(image_->discard(0, kSize));
    ASSERT_OK(image_->flush());
  }
  const std::uint64_t size = *disk_->open()->size();
  for (std::uint64_t chunk = 0; chunk < 8; ++chunk) write_all(*image_, chunk * kSmallChunk + 5000, pattern(10, chunk));
  Bytes wanted = zeros(kSize);
  for (std::uint64_t chunk = 0; chunk < 8; ++chunk) put(&wanted, chunk * kSmallChunk + 5000, pattern(10, chunk));
  expect_content(wanted);
  ASSERT_OK(image_->flush());
  EXPECT_EQ(*disk_->open()->size(), size) << "the file must not grow while there are free chunks";
  reopen();
  expect_content(wanted);
}

TEST_F(ImageIo, PreallocateReservesAndKeepsContent) {
  write_all(*image_, 1000, pattern(5000, 1));
  ASSERT_OK(image_->preallocate(0, kSize));
  Bytes wanted = zeros(kSize);
  put(&wanted, 1000, pattern(5000, 1));
  expect_content(wanted);
  EXPECT_GE(image_->allocated(), 8 * kSmallChunk);
  ASSERT_OK(image_->flush());
  const std::uint64_t size = *disk_->open()->size();
  write_all(*image_, 0, pattern(kSize, 2));
  ASSERT_OK(image_->flush());
  EXPECT_EQ(*disk_->open()->size(), size);
  reopen();
  expect_content(pattern(kSize, 2));
}

TEST_F(ImageIo, GrowingAddsZeros) {
  write_all(*image_, 0, pattern(kSize, 1));
  const std::uint64_t bigger = 100 * kSmallChunk + 512;
  ASSERT_OK(image_->resize(bigger, false));
  EXPECT_EQ(image_->virtual_size(), bigger);
  Bytes wanted = pattern(kSize, 1);
  wanted.resize(bigger);
  expect_content(wanted);
  write_all(*image_, bigger - 512, pattern(512, 2));
  put(&wanted, bigger - 512, pattern(512, 2));
  reopen();
  expect_content(wanted);
}

TEST_F(ImageIo, ShrinkingNeedsLeaveAndGivesUpWhatIsCutOff) {
  write_all(*image_, 0, pattern(kSize, 1));
  EXPECT_CODE(Code::kNotPermitted, image_->resize(kSmallChunk + 512, false));
  expect_content(pattern(kSize, 1));
  ASSERT_OK(image_->resize(kSmallChunk + 512, true));
  Bytes wanted = pattern(kSize, 1);
  wanted.resize(kSmallChunk + 512);
  expect_content(wanted);
  ASSERT_OK(image_->resize(kSize, false));
  wanted.resize(kSize);
  expect_content(wanted);
  reopen();
  expect_content(wanted);
}

TEST_F(ImageIo, ResizeRefusesOddAndImpossibleSizes) {
  EXPECT_CODE(Code::kInvalid, image_->resize(1000, true));
  EXPECT_CODE(Code::kInvalid, image_->resize(0, true));
  EXPECT_CODE(Code::kInvalid, image_->resize((std::uint64_t{64} << 40) + 512, true));
  EXPECT_OK(image_->resize(kSize, false));
  EXPECT_EQ(image_->virtual_size(), kSize);
}

TEST_F(ImageIo, SnapshotsKeepTheirOwnSize) {
  write_all(*image_, 0, pattern(kSize, 1));
  take(*image_, "small");
  ASSERT_OK(image_->resize(20 * kSmallChunk, false));
  take(*image_, "large");
  ASSERT_OK(image_->resize(512, true));
  reopen();
  EXPECT_EQ(image_->find_snapshot("small")->virtual_size, kSize);
  EXPECT_EQ(image_->find_snapshot("large")->virtual_size, 20 * kSmallChunk);
  EXPECT_EQ(difference(pattern(kSize, 1), read_snapshot(*image_, "small")), "");
  ASSERT_OK(image_->snapshot_goto("large"));
  EXPECT_EQ(image_->virtual_size(), 20 * kSmallChunk);
  ASSERT_OK(image_->snapshot_goto("small"));
  expect_content(pattern(kSize, 1));
}

TEST_F(ImageIo, FlushWithoutNewMappingsIsOneSync) {
  write_all(*image_, 0, pattern(kSmallChunk, 1));
  ASSERT_OK(image_->flush());
  write_all(*image_, 4096, pattern(4096, 2));
  disk_->arm({});
  ASSERT_OK(image_->flush());
  EXPECT_EQ(disk_->operations(), 1U);
}

TEST_F(ImageIo, ManyCommitsGoThroughManyCheckpoints) {
  Bytes wanted = zeros(kSize);
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const std::uint64_t offset = i * 7919 % (kSize / 512) * 512;
    if (i % 50 == 49) {
      ASSERT_OK(image_->discard(0, kSize));
      std::fill(wanted.begin(), wanted.end(), std::byte{0});
    }
    write_all(*image_, offset, pattern(512, i));
    put(&wanted, offset, pattern(512, i));
    ASSERT_OK(image_->flush());
  }
  EXPECT_GT(metric(*image_, "fvd_checkpoints_total"), 0U);
  expect_content(wanted);
  const auto killed = disk_->clone();
  expect_sound(*killed);
  EXPECT_EQ(difference(wanted, read_all(*open_disk(*killed))), "");
}

}  // namespace
}  // namespace fvd::test
