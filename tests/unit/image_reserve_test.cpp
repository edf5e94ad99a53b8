// Host storage reserved for chunks that copy-on-write fills block by block: when it is, and how it is given back.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <thread>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kChunks = 40;
constexpr std::uint64_t kSize = kChunks * kSmallChunk;
constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kBlocks = kSmallChunk / kBlock;

// A full disk with a snapshot "s1" of it.
class ImageReserve : public ::testing::Test {
 protected:
  void SetUp() override {
    disk_ = make_disk(small_chunks(kSize));
    image_ = open_disk(*disk_);
    expected_ = pattern(kSize, 1);
    write_all(*image_, 0, expected_);
    take(*image_, "s1");
    before_ = expected_;
  }
  void TearDown() override {
    if (!image_) return;
    EXPECT_EQ(difference(expected_, read_all(*image_)), "");
    EXPECT_EQ(difference(before_, read_snapshot(*image_, "s1")), "");
    ASSERT_OK(image_->close());
    expect_sound(*disk_);
    image_ = open_disk(*disk_);
    EXPECT_EQ(difference(expected_, read_all(*image_)), "");
  }
  void put(std::uint64_t chunk, std::uint64_t block, std::uint64_t blocks = 1) {
    const std::uint64_t at = chunk * kSmallChunk + block * kBlock;
    const Bytes data = pattern(blocks * kBlock, ++seed_);
    write_all(*image_, at, data);
    std::copy(data.begin(), data.end(), expected_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  [[nodiscard]] std::uint64_t reserved() const { return metric(*image_, "fvd_reserved_bytes"); }
  [[nodiscard]] std::uint64_t allocated() const { return *disk_->open()->allocated(); }
  void reopen(const OpenOptions& options = quiet()) {
    ASSERT_OK(image_->close());
    image_ = open_disk(*disk_, options);
  }

  std::shared_ptr<CrashDisk> disk_;
  std::unique_ptr<Image> image_;
  Bytes expected_;
  Bytes before_;
  std::uint64_t seed_ = 1;
};

TEST_F(ImageReserve, FromTheSecondWriteToAChunkOn) {
  put(3, 5);
  put(4, 5);
  EXPECT_EQ(reserved(), 0U) << "a lone write costs its block and no more";
  const std::uint64_t allocated_before = allocated();
  put(3, 9);
  EXPECT_EQ(reserved(), kSmallChunk);
  EXPECT_EQ(allocated(), allocated_before + (kBlocks - 1) * kBlock);
  const std::uint64_t allocated_then = allocated();
  put(3, 0, 5);
  put(3, 6, 3);
  EXPECT_EQ(allocated(), allocated_then);
  put(3, 10, 6);
  EXPECT_EQ(reserved(), 0U) << "the chunk is complete";
  EXPECT_EQ(allocated(), allocated_then);
}

TEST_F(ImageReserve, NotWhereCompletingWouldTakeLess) {
  ASSERT_OK(image_->discard(7 * kSmallChunk, kSmallChunk));
  std::fill_n(expected_.begin() + 7 * kSmallChunk, kSmallChunk, std::byte{0});
  put(7, 2, 3);
  take(*image_, "s2");
  put(7, 0);
  put(7, 8);
  put(7, 10);
  EXPECT_EQ(reserved(), 0U);
}

TEST_F(ImageReserve, NotWhenAskedNotTo) {
  OpenOptions options = quiet();
  options.reserve = false;
  reopen(options);
  put(3, 5);
  put(3, 9);
  EXPECT_EQ(reserved(), 0U);
}

TEST_F(ImageReserve, GivenBackAtClose) {
  reopen();
  const std::uint64_t allocated_before = allocated();
  for (std::uint64_t chunk = 0; chunk < 10; ++chunk) put(chunk, 5);
  for (std::uint64_t chunk = 0; chunk < 10; ++chunk) put(chunk, 6);
  EXPECT_EQ(reserved(), 10 * kSmallChunk);
  take(*image_, "s2");
  for (std::uint64_t chunk = 5; chunk < 15; ++chunk) put(chunk, 1);
  for (std::uint64_t chunk = 5; chunk < 15; ++chunk) put(chunk, 2);
  EXPECT_EQ(reserved(), 20 * kSmallChunk);
  reopen();
  // Of the blocks written those in chunks 5 to 9 were copied once more; the tables take the rest.
  EXPECT_LE(allocated(), allocated_before + 50 * kBlock + 3 * kSmallChunk);
}

TEST_F(ImageReserve, GivenBackByCompacting) {
  put(3, 5);
  put(3, 9);
  take(*image_, "s2");
  EXPECT_EQ(reserved(), kSmallChunk);
  ASSERT_OK(image_->compact());
  EXPECT_EQ(reserved(), 0U);
}

TEST_F(ImageReserve, WhatAKilledProcessLeftIsGivenBackByCompacting) {
  put(3, 5);
  put(3, 9);
  take(*image_, "s2");
  ASSERT_OK(image_->flush());
  const auto killed = disk_->clone();
  const auto image = open_disk(*killed);
  EXPECT_EQ(metric(*image, "fvd_reserved_bytes"), 0U);
  const std::uint64_t allocated_before = *killed->open()->allocated();
  ASSERT_OK(image->compact());
  EXPECT_LE(*killed->open()->allocated(), allocated_before - (kBlocks - 2) * kBlock);
  EXPECT_EQ(difference(expected_, read_all(*image)), "");
}

TEST_F(ImageReserve, GivenBackByTheBackgroundOnceASnapshotHoldsIt) {
  OpenOptions options = quiet();
  options.commit_interval = std::chrono::milliseconds(5);
  reopen(options);
  put(3, 5);
  put(3, 9);
  take(*image_, "s2");
  const Bytes frozen = expected_;
  for (int i = 0; i < 20000 && reserved() != 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(reserved(), 0U);
  EXPECT_EQ(difference(frozen, read_snapshot(*image_, "s2")), "");
}

TEST_F(ImageReserve, GivenBackBeforeAWriteFailsForWantOfSpace) {
  for (std::uint64_t chunk = 0; chunk < 10; ++chunk) put(chunk, 5);
  for (std::uint64_t chunk = 0; chunk < 5; ++chunk) put(chunk, 6);
  take(*image_, "s2");
  for (std::uint64_t chunk = 5; chunk < 10; ++chunk) put(chunk, 8);
  for (std::uint64_t chunk = 5; chunk < 10; ++chunk) put(chunk, 9);
  EXPECT_EQ(reserved(), 10 * kSmallChunk);
  ASSERT_OK(image_->flush());
  disk_->set_capacity(allocated());
  for (std::uint64_t chunk = 20; chunk < 40; ++chunk) put(chunk, 0);
  EXPECT_EQ(reserved(), 0U);
  // Nothing is reserved anew on a full disk, and a snapshot still has its space.
  put(20, 1);
  EXPECT_EQ(reserved(), 0U);
  disk_->set_capacity(UINT64_MAX);
}

TEST_F(ImageReserve, GivenBackBeforeASnapshotFailsForWantOfSpace) {
  for (std::uint64_t chunk = 0; chunk < 10; ++chunk) put(chunk, 5);
  for (std::uint64_t chunk = 0; chunk < 10; ++chunk) put(chunk, 6);
  ASSERT_OK(image_->flush());
  disk_->set_capacity(allocated());
  for (int i = 0; i < 10; ++i) take(*image_, "full" + std::to_string(i));
  EXPECT_EQ(reserved(), 0U);
  disk_->set_capacity(UINT64_MAX);
}

TEST_F(ImageReserve, AFailedReservationFailsNoWrite) {
  put(3, 5);
  ASSERT_OK(image_->flush());
  disk_->set_capacity(allocated() + 2 * kBlock);
  put(3, 9);
  EXPECT_EQ(reserved(), 0U);
  disk_->set_capacity(UINT64_MAX);
}

// The chunk of a deleted snapshot is written in place again: nothing of it may be given back as it was before.
TEST_F(ImageReserve, AChunkThatBecomesTheFrontsOwnAgainIsLeftAlone) {
  put(3, 5);
  put(3, 9);
  take(*image_, "s2");
  ASSERT_OK(image_->snapshot_delete("s2"));
  EXPECT_EQ(reserved(), 0U);
  put(3, 1);
  put(3, 2, 2);
  ASSERT_OK(image_->flush());
  EXPECT_EQ(image_->info().partial_chunks, 1U);
  reopen();
}

TEST_F(ImageReserve, AChunkOfTwoSnapshotsIsGivenBackOnce) {
  put(3, 5);
  put(3, 9);
  take(*image_, "s2");
  take(*image_, "s3");
  ASSERT_OK(image_->snapshot_delete("s2"));
  EXPECT_EQ(reserved(), kSmallChunk);
  put(3, 1);
  reopen();
}

TEST_F(ImageReserve, GoingToASnapshotForgetsWhatGoesWithTheFront) {
  put(3, 5);
  put(3, 9);
  take(*image_, "s2");
  const Bytes at_s2 = expected_;
  put(3, 1);
  put(3, 2);
  EXPECT_EQ(reserved(), 2 * kSmallChunk);
  ASSERT_OK(image_->snapshot_goto("s1"));
  expected_ = before_;
  EXPECT_EQ(reserved(), kSmallChunk) << "what s2 holds";
  put(3, 0);
  put(3, 3);
  ASSERT_OK(image_->snapshot_goto("s2"));
  expected_ = at_s2;
  EXPECT_EQ(reserved(), kSmallChunk);
  put(3, 3);
  reopen();
}

TEST_F(ImageReserve, OverwritingAndDiscardingForgetIt) {
  put(3, 5);
  put(3, 9);
  put(4, 5);
  put(4, 9);
  EXPECT_EQ(reserved(), 2 * kSmallChunk);
  put(3, 0, kBlocks);
  ASSERT_OK(image_->discard(4 * kSmallChunk, kSmallChunk));
  std::fill_n(expected_.begin() + 4 * kSmallChunk, kSmallChunk, std::byte{0});
  EXPECT_EQ(reserved(), 0U);
}

// A history of writes and snapshot operations beside a background that gives back and completes all the time.
TEST_F(ImageReserve, WhateverHappensNoByteIsLost) {
  OpenOptions options = quiet();
  options.commit_interval = std::chrono::milliseconds(1);
  options.completion_idle = std::chrono::milliseconds(1);
  std::uint64_t most = 0;
  for (std::uint64_t seed = 0; seed < environment("FVD_TEST_ROUNDS", 20); ++seed) {
    std::mt19937_64 random(seed);
    options.completion_idle = std::chrono::milliseconds(random() % 2);
    reopen(options);
    std::map<std::string, Bytes> kept{{"s1", before_}};
    const auto any = [&] { return std::next(kept.begin(), static_cast<std::ptrdiff_t>(random() % kept.size())); };
    for (int step = 0; step < 300; ++step) {
      const std::uint64_t dice = random() % 100;
      if (dice < 80) {
        const std::uint64_t block = random() % kBlocks;
        put(random() % 6, block, 1 + random() % std::min<std::uint64_t>(2, kBlocks - block));
      } else if (dice < 86) {
        const std::string name = "r" + std::to_string(step);
        take(*image_, name);
        kept[name] = expected_;
      } else if (dice < 92) {
        const auto it = any();
        if (it->first == "s1") continue;
        ASSERT_OK(image_->snapshot_delete(it->first));
        kept.erase(it);
      } else if (dice < 95) {
        const auto it = any();
        ASSERT_OK(image_->snapshot_goto(it->first));
        expected_ = it->second;
      } else if (dice < 96) {
        ASSERT_OK(image_->compact());
      } else if (dice < 97) {
        reopen(options);
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
      }
      most = std::max(most, reserved());
    }
    ASSERT_EQ(difference(expected_, read_all(*image_)), "") << "seed " << seed;
    for (const auto& [name, state] : kept) {
      ASSERT_EQ(difference(state, read_snapshot(*image_, name)), "") << "seed " << seed << ", " << name;
      if (name == "s1") continue;
      ASSERT_OK(image_->snapshot_delete(name));
    }
    ASSERT_OK(image_->snapshot_goto("s1"));
    expected_ = before_;
    EXPECT_EQ(reserved(), 0U);
  }
  EXPECT_GE(most, 3 * kSmallChunk);
}

}  // namespace
}  // namespace fvd::test
