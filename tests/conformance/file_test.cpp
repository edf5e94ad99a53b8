// What every File promises, run on each implementation.
#include <gtest/gtest.h>

#include <thread>

#include "support/file_fixtures.h"

namespace fvd::test {
namespace {

template <typename Maker>
class FileConformance : public ::testing::Test {
 protected:
  void SetUp() override {
    file_ = maker_.make();
    ASSERT_NE(file_, nullptr);
  }

  Bytes read(std::uint64_t offset, std::size_t length) {
    Bytes bytes(length, std::byte{0xEE});
    EXPECT_OK(file_->read(offset, bytes));
    return bytes;
  }

  std::uint64_t size() {
    const auto size = file_->size();
    EXPECT_OK(size);
    return size ? *size : 0;
  }

  Maker maker_;
  std::unique_ptr<File> file_;
};

using Makers = ::testing::Types<PosixFileMaker, MemoryFileMaker, CrashFileMaker>;
TYPED_TEST_SUITE(FileConformance, Makers);

TYPED_TEST(FileConformance, StartsEmpty) {
  EXPECT_EQ(this->size(), 0U);
  const auto allocated = this->file_->allocated();
  ASSERT_OK(allocated);
  EXPECT_EQ(*allocated, 0U);
  EXPECT_FALSE(this->file_->is_block_device());
  EXPECT_NE(this->file_->path(), "");
}

TYPED_TEST(FileConformance, ReadsBackWhatWasWritten) {
  for (const std::size_t length : {1U, 511U, 512U, 4096U, 70001U}) {
    for (const std::uint64_t offset : {0U, 1U, 4095U, 4096U, 1000003U}) {
      const Bytes data = pattern(length, offset + length);
      ASSERT_OK(this->file_->write(offset, data));
      EXPECT_EQ(difference(data, this->read(offset, length)), "") << offset << "+" << length;
    }
  }
}

TYPED_TEST(FileConformance, WritingGrowsTheFileAndLeavesZerosBetween) {
  ASSERT_OK(this->file_->write(10000, pattern(10, 1)));
  EXPECT_EQ(this->size(), 10010U);
  EXPECT_EQ(this->read(0, 10000), zeros(10000));
}

TYPED_TEST(FileConformance, ReadsZerosPastTheEnd) {
  ASSERT_OK(this->file_->write(0, pattern(100, 1)));
  Bytes wanted = pattern(100, 1);
  wanted.resize(9000);
  EXPECT_EQ(difference(wanted, this->read(0, 9000)), "");
  EXPECT_EQ(this->read(1U << 30, 4096), zeros(4096));
  EXPECT_EQ(this->size(), 100U) << "reading must not grow the file";
}

TYPED_TEST(FileConformance, EmptyRangesDoNothing) {
  ASSERT_OK(this->file_->write(5, {}));
  ASSERT_OK(this->file_->read(5, {}));
  ASSERT_OK(this->file_->zero(5, 0));
  ASSERT_OK(this->file_->reserve(5, 0));
  EXPECT_EQ(this->size(), 0U);
}

TYPED_TEST(FileConformance, ZeroClearsExactlyItsRange) {
  for (const auto& [offset, length] : {std::pair<std::uint64_t, std::uint64_t>{0, 4096},
                                       {100, 300},
                                       {4000, 200},
                                       {4096, 65536},
                                       {5000, 50000},
                                       {65536, 131072}}) {
    Bytes wanted = pattern(262144, 7);
    ASSERT_OK(this->file_->write(0, wanted));
    ASSERT_OK(this->file_->zero(offset, length));
    std::fill_n(wanted.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
    EXPECT_EQ(difference(wanted, this->read(0, 262144)), "") << offset << "+" << length;
    EXPECT_EQ(this->size(), 262144U);
  }
}

TYPED_TEST(FileConformance, ZeroGivesWholePagesBack) {
  ASSERT_OK(this->file_->write(0, pattern(4 * kMiB, 1)));
  ASSERT_OK(this->file_->sync());
  const auto before = this->file_->allocated();
  ASSERT_OK(before);
  ASSERT_OK(this->file_->zero(kMiB, 2 * kMiB));
  ASSERT_OK(this->file_->sync());
  const auto after = this->file_->allocated();
  ASSERT_OK(after);
  EXPECT_LE(*after, *before);  // equal on a host that cannot punch holes
}

TYPED_TEST(FileConformance, ZeroAcrossTheEndReadsAsZeros) {
  ASSERT_OK(this->file_->write(0, pattern(10000, 1)));
  ASSERT_OK(this->file_->zero(8192, kMiB));
  EXPECT_EQ(this->read(8192, 100000), zeros(100000));
  EXPECT_EQ(difference(pattern(10000, 1),
                       [&] {
                         Bytes seen = this->read(0, 8192);
                         const Bytes tail = pattern(10000, 1);
                         seen.insert(seen.end(), tail.begin() + 8192, tail.end());
                         return seen;
                       }()),
            "");
}

TYPED_TEST(FileConformance, TruncateShrinksAndGrowsWithZeros) {
  ASSERT_OK(this->file_->write(0, pattern(100000, 1)));
  ASSERT_OK(this->file_->truncate(5000));
  EXPECT_EQ(this->size(), 5000U);
  ASSERT_OK(this->file_->truncate(200000));
  EXPECT_EQ(this->size(), 200000U);
  Bytes wanted = pattern(100000, 1);
  wanted.resize(5000);
  wanted.resize(200000);
  EXPECT_EQ(difference(wanted, this->read(0, 200000)), "");
}

TYPED_TEST(FileConformance, ReserveChangesNoContent) {
  Bytes wanted = pattern(10000, 1);
  ASSERT_OK(this->file_->write(0, wanted));
  ASSERT_OK(this->file_->reserve(4096, kMiB));
  wanted.resize(2 * kMiB);
  EXPECT_EQ(difference(wanted, this->read(0, 2 * kMiB)), "");
}

// Data must never be called a hole; a hole may be called data where the host cannot tell.
TYPED_TEST(FileConformance, SeekNeverCallsDataAHole) {
  ASSERT_OK(this->file_->truncate(8 * kMiB));
  ASSERT_OK(this->file_->write(kMiB, pattern(4096, 1)));
  ASSERT_OK(this->file_->write(4 * kMiB + 100, pattern(9000, 2)));
  ASSERT_OK(this->file_->sync());
  const std::uint64_t end = 8 * kMiB;
  Bytes covered(end);
  for (std::uint64_t at = 0; at < end;) {
    const auto data = this->file_->seek_data(at, end);
    ASSERT_OK(data);
    ASSERT_GE(*data, at);
    ASSERT_LE(*data, end);
    if (*data == end) break;
    const auto hole = this->file_->seek_hole(*data, end);
    ASSERT_OK(hole);
    ASSERT_GT(*hole, *data);
    ASSERT_LE(*hole, end);
    std::fill(covered.begin() + static_cast<std::ptrdiff_t>(*data),
              covered.begin() + static_cast<std::ptrdiff_t>(*hole), std::byte{1});
    at = *hole;
  }
  const Bytes content = this->read(0, end);
  for (std::uint64_t i = 0; i < end; ++i) {
    ASSERT_FALSE(content[i] != std::byte{0} && covered[i] == std::byte{0}) << "data in a hole at " << i;
  }
}

TYPED_TEST(FileConformance, SeekStaysWithinItsEnd) {
  ASSERT_OK(this->file_->write(0, pattern(100000, 1)));
  const auto hole = this->file_->seek_hole(0, 50000);
  ASSERT_OK(hole);
  EXPECT_EQ(*hole, 50000U);
  const auto data = this->file_->seek_data(200000, 300000);
  ASSERT_OK(data);
  EXPECT_LE(*data, 300000U);
  const auto inside = this->file_->seek_data(777, 100000);
  ASSERT_OK(inside);
  EXPECT_EQ(*inside, 777U);
}

TYPED_TEST(FileConformance, SyncSucceedsAndKeepsContent) {
  ASSERT_OK(this->file_->sync());
  ASSERT_OK(this->file_->write(0, pattern(5000, 1)));
  ASSERT_OK(this->file_->sync());
  ASSERT_OK(this->file_->sync());
  EXPECT_EQ(difference(pattern(5000, 1), this->read(0, 5000)), "");
}

TYPED_TEST(FileConformance, ManyThreadsWriteAtOnce) {
  constexpr std::uint64_t kThreads = 4;
  constexpr std::uint64_t kPieces = 64;
  constexpr std::size_t kPiece = 5000;
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      for (std::uint64_t i = 0; i < kPieces; ++i) {
        const std::uint64_t number = i * kThreads + t;
        EXPECT_OK(this->file_->write(number * kPiece, pattern(kPiece, number)));
        if (i % 16 == 0) EXPECT_OK(this->file_->sync());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (std::uint64_t number = 0; number < kThreads * kPieces; ++number) {
    ASSERT_EQ(difference(pattern(kPiece, number), this->read(number * kPiece, kPiece)), "") << number;
  }
}

}  // namespace
}  // namespace fvd::test
