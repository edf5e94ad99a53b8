// Giving free chunks back to the host: all of them in the end, and in steps that fit a host that is slow at it.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "image/reclaimer.h"
#include "support/image_rig.h"
#include "support/memory_file.h"

namespace fvd::test {
namespace {

using std::chrono::milliseconds;

constexpr format::Geometry kGeometry{20, 12, 1 << 20};
constexpr std::uint32_t kChunks = 16;

// Keeps everyone off the file for a while at each punch, as a host does that discards extent by extent.
class SlowHost final : public MemoryFile {
 public:
  SlowHost(milliseconds delay, std::vector<std::uint64_t>& steps) : delay_(delay), steps_(steps) {}
  Status zero(std::uint64_t offset, std::uint64_t length) override {
    steps_.push_back(length);
    std::this_thread::sleep_for(delay_);
    return MemoryFile::zero(offset, length);
  }
  Result<std::uint64_t> seek_data(std::uint64_t offset, std::uint64_t end) override {
    std::vector<std::byte> piece(4096);
    for (; offset < end; offset += piece.size()) {
      if (Status s = read(offset, piece); !s) return s;
      if (piece.front() != std::byte{0}) break;
    }
    return offset;
  }

 private:
  const milliseconds delay_;
  std::vector<std::uint64_t>& steps_;
};

struct Rig {
  explicit Rig(milliseconds delay)
      : storage(std::make_unique<SlowHost>(delay, steps)),
        allocator(storage.file(), kGeometry),
        reclaimer(storage, kGeometry, allocator) {
    const std::vector<std::byte> data(std::size_t{kChunks} << kGeometry.chunk_log2, std::byte{1});
    EXPECT_TRUE(storage.file().write(kGeometry.data_offset, data).is_ok());
    Bits used;
    used.set(3);
    allocator.reset(kChunks, used);
  }
  // Chunks whose first byte is not zero.
  std::vector<std::uint32_t> with_data() {
    std::vector<std::uint32_t> result;
    for (std::uint32_t c = 1; c <= kChunks; ++c) {
      const auto end = kGeometry.file_offset(c) + kGeometry.chunk_size();
      if (*storage.file().seek_data(kGeometry.file_offset(c), end) != end) result.push_back(c);
    }
    return result;
  }

  std::vector<std::uint64_t> steps;
  Storage storage;
  ChunkAllocator allocator;
  Reclaimer reclaimer;
};

TEST(ImageReclaimer, GivesBackWhatIsFreeAndNothingElse) {
  Rig rig(milliseconds(0));
  EXPECT_TRUE(rig.reclaimer.wanted()) << "at open nobody has looked yet";
  EXPECT_TRUE(rig.reclaimer.give_some([](auto) { return true; }));
  EXPECT_FALSE(rig.reclaimer.wanted());
  EXPECT_EQ(rig.with_data(), std::vector<std::uint32_t>{3});
  EXPECT_FALSE(rig.reclaimer.give_all()) << "there was something left";
  rig.allocator.release(3, 1, false);
  EXPECT_TRUE(rig.reclaimer.give_all());
  EXPECT_TRUE(rig.with_data().empty());
  EXPECT_TRUE(rig.allocator.allocate(kChunks)->reads_zero);
}

TEST(ImageReclaimer, TakesSmallStepsOnAHostThatIsSlowAtIt) {
  Rig rig(milliseconds(12));
  int left = 12;
  EXPECT_FALSE(rig.reclaimer.give_some([&](auto) { return --left != 0; }));
  ASSERT_EQ(rig.steps.size(), 12U);
  EXPECT_LE(rig.steps.front(), 64U << 10);
  EXPECT_LE(rig.steps.back(), 16U << 10) << "each step took three times as long as one should";
}

TEST(ImageReclaimer, GoesOnWhereItWasStopped) {
  Rig rig(milliseconds(0));
  int calls = 0;
  while (!rig.reclaimer.give_some([&](auto) { return ++calls % 3 != 0; })) {
    ASSERT_LT(calls, 10000);
  }
  EXPECT_EQ(rig.with_data(), std::vector<std::uint32_t>{3});
}

TEST(ImageReclaimer, ChunksCanBeAllocatedBeforeTheirTurn) {
  Rig rig(milliseconds(0));
  EXPECT_FALSE(rig.reclaimer.give_some([](auto) { return false; }));
  for (std::uint32_t i = 0; i < kChunks - 1; ++i) ASSERT_OK(rig.allocator.allocate());
  EXPECT_EQ(rig.allocator.chunks_in_file(), kChunks) << "the file grew although chunks were free";
  const std::size_t held = rig.with_data().size();
  EXPECT_TRUE(rig.reclaimer.give_some([](auto) { return true; }));
  EXPECT_EQ(rig.with_data().size(), held) << "a chunk in use was zeroed";
}

TEST(ImageReclaimer, AZeroedChunkComesFromAGrownFileIfNeedBe) {
  Rig rig(milliseconds(0));
  const auto got = rig.allocator.allocate_zeroed();
  ASSERT_OK(got);
  EXPECT_TRUE(got->reads_zero);
  EXPECT_GT(got->first, kChunks);
  rig.reclaimer.give_all();
  const auto next = rig.allocator.allocate_zeroed();
  ASSERT_OK(next);
  EXPECT_TRUE(next->reads_zero);
  EXPECT_LE(next->first, kChunks);
}

// What was in use may hold reserved storage that looks like a hole: it is punched whole, and in the end also where each
// call ends after one step.
TEST(ImageReclaimer, WhatWasInUseIsPunchedWholeStepByStep) {
  Rig rig(milliseconds(0));
  EXPECT_TRUE(rig.reclaimer.give_some([](auto) { return true; }));
  rig.steps.clear();
  const auto place = rig.allocator.allocate(8);
  ASSERT_OK(place);
  rig.allocator.release(place->first, 8, false);
  rig.reclaimer.look_again();
  int calls = 0;
  while (!rig.reclaimer.give_some([](auto) { return false; }) && calls < 1000) ++calls;
  EXPECT_LT(calls, 1000);
  std::uint64_t punched = 0;
  for (const std::uint64_t step : rig.steps) punched += step;
  EXPECT_EQ(punched, 8 * kGeometry.chunk_size());
}

}  // namespace
}  // namespace fvd::test
