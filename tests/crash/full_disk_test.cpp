// A host that runs out of space: the writer hears of it, nothing acknowledged is lost, commits and deletes still work,
// and everything goes on when there is space again.
#include <gtest/gtest.h>

#include <array>
#include <span>

#include "support/tracked_image.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 64 * kSmallChunk;

// Writes until the disk is full; returns how many chunks went in.
std::uint64_t fill(TrackedImage& image, std::uint64_t seed) {
  std::uint64_t chunk = 0;
  for (; chunk < kSize / kSmallChunk; ++chunk) {
    EXPECT_EQ(image.write(chunk * kSmallChunk, pattern(kSmallChunk, seed + chunk)), "");
    if (image.last_code() != Code::kOk) break;
  }
  return chunk;
}

// From now on the host has so much space left, which is nothing for use_up().
void leave(TrackedImage& image, std::uint64_t bytes) {
  image.disk().set_capacity(*image.disk().open()->allocated() + bytes);
}
void use_up(TrackedImage& image) { leave(image, 0); }

// Nothing acknowledged is lost, now or by a power cut with those seeds.
void expect_nothing_lost(TrackedImage& image, std::span<const std::uint64_t> seeds) {
  ASSERT_EQ(image.compare(), "");
  ASSERT_EQ(image.power_cut(seeds), "");
}
void expect_nothing_lost(TrackedImage& image) { expect_nothing_lost(image, std::array<std::uint64_t, 2>{0, 1}); }

void flush_well(TrackedImage& image) {
  ASSERT_EQ(image.flush(), "");
  ASSERT_EQ(image.last_code(), Code::kOk) << "a full disk must not block a flush";
}

TEST(FullDisk, WritersHearOfItAndNothingAcknowledgedIsLost) {
  TrackedImage image(small_chunks(kSize));
  ASSERT_EQ(image.write(0, pattern(4 * kSmallChunk, 1)), "");
  ASSERT_EQ(image.create("s"), "");
  leave(image, 20 * kSmallChunk);
  image.disk().arm({});
  const std::uint64_t written = fill(image, 10);
  EXPECT_EQ(image.last_code(), Code::kNoSpace);
  EXPECT_GE(written, 10U);
  EXPECT_FALSE(image.image()->read_only());
  ASSERT_EQ(image.compare(), "");
  // A full disk never blocks a flush of what was acknowledged.
  image.disk().disarm();
  flush_well(image);
  expect_nothing_lost(image);
}

TEST(FullDisk, OverwritesOfOwnedChunksGoOn) {
  TrackedImage image(small_chunks(kSize));
  ASSERT_EQ(image.write(0, pattern(kSmallChunk, 1)), "");
  ASSERT_EQ(image.flush(), "");
  image.disk().set_capacity(0);
  ASSERT_EQ(image.write(4096, pattern(4096, 2)), "");
  EXPECT_EQ(image.last_code(), Code::kOk);
  flush_well(image);
  ASSERT_EQ(image.compare(), "");
}

TEST(FullDisk, DeletingMakesRoom) {
  TrackedImage image(small_chunks(kSize));
  ASSERT_EQ(image.write(0, pattern(16 * kSmallChunk, 1)), "");
  ASSERT_EQ(image.create("s"), "");
  ASSERT_EQ(image.write(0, pattern(16 * kSmallChunk, 2)), "");
  ASSERT_EQ(image.flush(), "");
  leave(image, 4 * kSmallChunk);
  image.disk().arm({});
  while (true) {
    ASSERT_EQ(image.write(20 * kSmallChunk + image.disk().operations() * kSmallChunk % (30 * kSmallChunk),
                          pattern(kSmallChunk, 3)),
              "");
    if (image.last_code() == Code::kNoSpace) break;
    ASSERT_LT(image.disk().operations(), 1000U);
  }
  image.disk().disarm();
  ASSERT_EQ(image.remove("s"), "");
  EXPECT_EQ(image.last_code(), Code::kOk) << "a full disk must not block the deletion of a snapshot";
  ASSERT_EQ(image.flush(), "");
  ASSERT_EQ(image.write(50 * kSmallChunk, pattern(8 * kSmallChunk, 4)), "");
  EXPECT_EQ(image.last_code(), Code::kOk);
  ASSERT_EQ(image.flush(), "");
  expect_nothing_lost(image, std::array<std::uint64_t, 3>{0, 1, 9});
}

// The journal holds two batches, so nearly every flush needs a new base table.
TEST(FullDisk, FlushesGoOnHoweverOftenTheJournalFillsUp) {
  for (const bool snapshot : {false, true}) {
    SCOPED_TRACE(snapshot);
    CreateOptions options = small_chunks(kSize);
    options.journal_half_size = 8192;
    TrackedImage image(options);
    ASSERT_EQ(image.write(0, pattern(40 * kSmallChunk, 1)), "");
    if (snapshot) {
      ASSERT_EQ(image.create("s"), "");
    }
    ASSERT_EQ(image.write(kSmallChunk, pattern(4096, 2)), "");
    ASSERT_EQ(image.flush(), "");
    use_up(image);
    const std::uint64_t before = metric(*image.image(), "fvd_checkpoints_total");
    for (std::uint64_t i = 0; i < 40; ++i) {
      SCOPED_TRACE(i);
      ASSERT_EQ(image.discard(i * kSmallChunk, i % 2 == 0 ? kSmallChunk : 8192), "");
      EXPECT_EQ(image.last_code(), Code::kOk);
      flush_well(image);
      use_up(image);
    }
    EXPECT_GE(metric(*image.image(), "fvd_checkpoints_total"), before + 5);
    expect_nothing_lost(image);
  }
}

// A table of so many chunks that the one before it cannot take its place: what was held for it comes back whole.
TEST(FullDisk, DiscardsGoOnHoweverOftenALongTableIsWritten) {
  for (const bool snapshot : {false, true}) {
    SCOPED_TRACE(snapshot);
    CreateOptions options = small_chunks(8 * 1024 * kMiB, 65536);
    options.journal_half_size = 8192;
    const auto disk = make_disk(options);
    auto image = open_disk(*disk);
    ASSERT_TRUE(image);
    constexpr std::uint64_t kGroup = 16 * kSmallChunk;
    for (std::uint64_t i = 0; i < 150; ++i) write_all(*image, i * kGroup, pattern(512, i));
    if (snapshot) take(*image, "s");
    for (std::uint64_t i = 0; i < 8; ++i) write_all(*image, i * kGroup + kSmallChunk, pattern(512, i));
    ASSERT_OK(image->flush());
    disk->set_capacity(*disk->open()->allocated());
    const std::uint64_t before = metric(*image, "fvd_checkpoints_total");
    for (std::uint64_t i = 0; i < 150; ++i) {
      SCOPED_TRACE(i);
      ASSERT_OK(image->discard(i * kGroup, kSmallChunk));
      ASSERT_OK(image->flush());
      disk->set_capacity(*disk->open()->allocated());
    }
    EXPECT_GE(metric(*image, "fvd_checkpoints_total"), before + 5);
    if (snapshot) {
      EXPECT_OK(image->snapshot_delete("s"));
    }
    ASSERT_OK(image->close());
    expect_sound(*disk);
  }
}

TEST(FullDisk, EveryDeletionGoesThroughAlsoTheFirstThingAfterOpening) {
  for (const bool reopened : {false, true}) {
    SCOPED_TRACE(reopened);
    TrackedImage made(small_chunks(kSize));
    for (std::uint64_t i = 0; i < 5; ++i) {
      ASSERT_EQ(made.write(i * kSmallChunk / 2, pattern(kSmallChunk, i)), "");
      ASSERT_EQ(made.create("s" + std::to_string(i)), "");
    }
    ASSERT_EQ(made.hold("s2", true), "");
    ASSERT_EQ(made.write(kSmallChunk, pattern(kSmallChunk, 9)), "");
    ASSERT_EQ(made.flush(), "");
    if (reopened) {
      ASSERT_EQ(made.close(), "");
    }
    TrackedImage copy(reopened ? TrackedImage(made) : TrackedImage(small_chunks(kSize)));
    TrackedImage& image = reopened ? copy : made;
    use_up(image);
    for (const char* name : {"s1", "s4", "s0", "s2", "s3"}) {
      SCOPED_TRACE(name);
      if (std::string(name) == "s2") {
        ASSERT_EQ(image.hold("s2", false), "");
        ASSERT_EQ(image.last_code(), Code::kOk);
      }
      ASSERT_EQ(image.remove(name), "");
      ASSERT_EQ(image.last_code(), Code::kOk) << "a full disk must not block a deletion";
      use_up(image);
    }
    ASSERT_EQ(image.flush(), "");
    expect_nothing_lost(image);
  }
}

TEST(FullDisk, GoingToASnapshotNeedsNoSpace) {
  TrackedImage image(small_chunks(kSize));
  ASSERT_EQ(image.write(0, pattern(4 * kSmallChunk, 1)), "");
  ASSERT_EQ(image.create("s"), "");
  ASSERT_EQ(image.write(0, pattern(4 * kSmallChunk, 2)), "");
  ASSERT_EQ(image.close(), "");
  TrackedImage again(image);
  use_up(again);
  ASSERT_EQ(again.go_to("s"), "");
  EXPECT_EQ(again.last_code(), Code::kOk);
  expect_nothing_lost(again);
}

// What is held is nowhere to be seen once the image is closed.
TEST(FullDisk, WhatIsHeldIsGivenBackAtClose) {
  TrackedImage image(small_chunks(kSize));
  ASSERT_EQ(image.write(0, pattern(kSmallChunk, 1)), "");
  ASSERT_EQ(image.create("s"), "");
  ASSERT_EQ(image.write(0, pattern(4096, 2)), "");
  ASSERT_EQ(image.flush(), "");
  const std::uint64_t open = *image.disk().open()->allocated();
  ASSERT_EQ(image.close(), "");
  EXPECT_LT(*image.disk().open()->allocated(), open);
  EXPECT_EQ(check_findings(*image.disk().open()), "");
}

TEST(FullDisk, SnapshotOperationsAreRefusedWhole) {
  for (std::uint64_t spare = 0; spare <= 12 * kSmallChunk; spare += 16 * kKiB) {
    SCOPED_TRACE(spare);
    TrackedImage image(small_chunks(kSize));
    ASSERT_EQ(image.write(0, pattern(8 * kSmallChunk, 1)), "");
    ASSERT_EQ(image.create("s"), "");
    ASSERT_EQ(image.write(0, pattern(4 * kSmallChunk + 4096, 2)), "");
    leave(image, spare);
    image.disk().arm({});
    ASSERT_EQ(image.create("t"), "");
    EXPECT_FALSE(image.image()->read_only()) << image.image()->info().error;
    ASSERT_EQ(image.compare(), "");
    if (image.world().snapshots.contains(2)) {
      ASSERT_EQ(image.rename("t", "renamed"), "");
    }
    ASSERT_EQ(image.go_to("s"), "");
    expect_nothing_lost(image, std::array<std::uint64_t, 3>{0, 1, spare + 5});
  }
}

TEST(FullDisk, GoesOnWhenThereIsSpaceAgain) {
  TrackedImage image(small_chunks(kSize));
  ASSERT_EQ(image.write(0, pattern(8 * kSmallChunk, 1)), "");
  ASSERT_EQ(image.create("s"), "");
  leave(image, 3 * kSmallChunk);
  image.disk().arm({});
  fill(image, 30);
  ASSERT_EQ(image.create("t"), "");
  ASSERT_EQ(image.flush(), "");
  image.disk().set_capacity(UINT64_MAX);
  image.disk().disarm();
  EXPECT_EQ(fill(image, 40), kSize / kSmallChunk);
  ASSERT_EQ(image.flush(), "");
  ASSERT_EQ(image.create("u"), "");
  ASSERT_EQ(image.compare(), "");
  ASSERT_EQ(image.close(), "");
  EXPECT_EQ(check_findings(*image.disk().open()), "");
}

}  // namespace
}  // namespace fvd::test
