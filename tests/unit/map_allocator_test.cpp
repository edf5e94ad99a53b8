// The chunk allocator: what it hands out, takes back, and knows about zeros.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "map/chunk_allocator.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr format::Geometry kGeometry{16, 12, 65536};

TEST(MapAllocator, HandsOutEveryChunkOnce) {
  const auto file = CrashDisk::make()->open();
  ChunkAllocator allocator(*file, kGeometry);
  allocator.reset(0, Bits());
  std::set<std::uint32_t> seen;
  for (int i = 0; i < 3000; ++i) {
    const auto got = allocator.allocate();
    ASSERT_OK(got);
    EXPECT_TRUE(got->reads_zero) << "a file that has just grown reads as zeros";
    EXPECT_TRUE(seen.insert(got->first).second) << got->first;
    EXPECT_GE(got->first, 1U);
    EXPECT_LE(got->first, allocator.chunks_in_file());
  }
  EXPECT_EQ(allocator.used(), 3000U);
  EXPECT_GE(*file->size(), kGeometry.file_offset(*seen.rbegin()) + kGeometry.chunk_size());
}

TEST(MapAllocator, ReusesWhatWasReleasedBeforeItGrows) {
  const auto file = CrashDisk::make()->open();
  ChunkAllocator allocator(*file, kGeometry);
  allocator.reset(0, Bits());
  const auto first = allocator.allocate(10);
  ASSERT_OK(first);
  const std::uint32_t total = allocator.chunks_in_file();
  for (std::uint32_t i = 10; i < total; ++i) ASSERT_OK(allocator.allocate());
  allocator.release(first->first + 2, 5, false);
  const auto run = allocator.allocate(4);
  ASSERT_OK(run);
  EXPECT_EQ(run->first, first->first + 2);
  EXPECT_FALSE(run->reads_zero);
  ASSERT_OK(allocator.allocate());
  EXPECT_EQ(allocator.chunks_in_file(), total);
  ASSERT_OK(allocator.allocate());
  EXPECT_GT(allocator.chunks_in_file(), total);
}

TEST(MapAllocator, AfterRecoveryNothingIsKnownToBeZero) {
  const auto file = CrashDisk::make()->open();
  ASSERT_OK(file->truncate(kGeometry.file_offset(5)));
  ChunkAllocator allocator(*file, kGeometry);
  Bits used;
  used.set(2);
  allocator.reset(4, used);
  EXPECT_TRUE(allocator.is_used(2));
  EXPECT_EQ(allocator.used(), 1U);
  EXPECT_EQ(allocator.highest_used(), 2U);
  std::set<std::uint32_t> got;
  for (int i = 0; i < 3; ++i) {
    const auto one = allocator.allocate();
    ASSERT_OK(one);
    EXPECT_FALSE(one->reads_zero);
    got.insert(one->first);
  }
  EXPECT_EQ(got, (std::set<std::uint32_t>{1, 3, 4}));
}

// A crash may leave the file ending within a chunk, with data in it.
TEST(MapAllocator, TheRestOfACutOffChunkIsNotTakenForZeros) {
  const auto file = CrashDisk::make()->open();
  ASSERT_OK(file->truncate(kGeometry.file_offset(3)));
  ASSERT_OK(file->write(kGeometry.file_offset(3), pattern(5000, 1)));
  ChunkAllocator allocator(*file, kGeometry);
  Bits used;
  used.set(1);
  used.set(2);
  allocator.reset(2, used);
  const auto third = allocator.allocate();
  ASSERT_OK(third);
  EXPECT_EQ(third->first, 3U);
  EXPECT_FALSE(third->reads_zero);
  const auto fourth = allocator.allocate();
  ASSERT_OK(fourth);
  EXPECT_TRUE(fourth->reads_zero);
}

TEST(MapAllocator, RandomAllocationsAndReleasesAgainstASet) {
  std::mt19937_64 random(1);
  const auto file = CrashDisk::make()->open();
  ChunkAllocator allocator(*file, kGeometry);
  allocator.reset(0, Bits());
  std::set<std::uint32_t> used;
  for (int i = 0; i < 20000; ++i) {
    if (used.empty() || random() % 2 == 0) {
      const auto count = static_cast<std::uint32_t>(random() % 8 == 0 ? 1 + random() % 40 : 1);
      const auto got = allocator.allocate(count);
      ASSERT_OK(got);
      for (std::uint32_t c = got->first; c < got->first + count; ++c) ASSERT_TRUE(used.insert(c).second) << c;
    } else {
      auto victim = used.lower_bound(static_cast<std::uint32_t>(random() % (*used.rbegin() + 1)));
      allocator.release(*victim, 1, random() % 2 == 0);
      used.erase(victim);
    }
    ASSERT_EQ(allocator.used(), used.size());
  }
  EXPECT_EQ(allocator.highest_used(), used.empty() ? 0 : *used.rbegin());
}

}  // namespace
}  // namespace fvd::test
