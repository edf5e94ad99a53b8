// A host that runs out of space: the writer hears of it, nothing acknowledged is lost, commits and deletes still work,
// and everything goes on when there is space again.
#include <gtest/gtest.h>

#include <array>

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

TEST(FullDisk, WritersHearOfItAndNothingAcknowledgedIsLost) {
  TrackedImage image(small_chunks(kSize));
  ASSERT_EQ(image.write(0, pattern(4 * kSmallChunk, 1)), "");
  ASSERT_EQ(image.create("s"), "");
  image.disk().set_capacity(*image.disk().open()->allocated() + 20 * kSmallChunk);
  image.disk().arm({});
  const std::uint64_t written = fill(image, 10);
  EXPECT_EQ(image.last_code(), Code::kNoSpace);
  EXPECT_GE(written, 10U);
  EXPECT_FALSE(image.image()->read_only());
  ASSERT_EQ(image.compare(), "");
  // A full disk never blocks a flush of what was acknowledged.
  image.disk().disarm();
  ASSERT_EQ(image.flush(), "");
  EXPECT_EQ(image.last_code(), Code::kOk);
  ASSERT_EQ(image.compare(), "");
  ASSERT_EQ(image.power_cut(std::array<std::uint64_t, 2>{0, 1}), "");
}

TEST(FullDisk, OverwritesOfOwnedChunksGoOn) {
  TrackedImage image(small_chunks(kSize));
  ASSERT_EQ(image.write(0, pattern(kSmallChunk, 1)), "");
  ASSERT_EQ(image.flush(), "");
  image.disk().set_capacity(0);
  ASSERT_EQ(image.write(4096, pattern(4096, 2)), "");
  EXPECT_EQ(image.last_code(), Code::kOk);
  ASSERT_EQ(image.flush(), "");
  EXPECT_EQ(image.last_code(), Code::kOk);
  ASSERT_EQ(image.compare(), "");
}

TEST(FullDisk, DeletingMakesRoom) {
  TrackedImage image(small_chunks(kSize));
  ASSERT_EQ(image.write(0, pattern(16 * kSmallChunk, 1)), "");
  ASSERT_EQ(image.create("s"), "");
  ASSERT_EQ(image.write(0, pattern(16 * kSmallChunk, 2)), "");
  ASSERT_EQ(image.flush(), "");
  image.disk().set_capacity(*image.disk().open()->allocated() + 4 * kSmallChunk);
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
  ASSERT_EQ(image.compare(), "");
  ASSERT_EQ(image.power_cut(std::array<std::uint64_t, 3>{0, 1, 9}), "");
}

TEST(FullDisk, SnapshotOperationsAreRefusedWhole) {
  for (std::uint64_t spare = 0; spare <= 12 * kSmallChunk; spare += 16 * kKiB) {
    SCOPED_TRACE(spare);
    TrackedImage image(small_chunks(kSize));
    ASSERT_EQ(image.write(0, pattern(8 * kSmallChunk, 1)), "");
    ASSERT_EQ(image.create("s"), "");
    ASSERT_EQ(image.write(0, pattern(4 * kSmallChunk + 4096, 2)), "");
    image.disk().set_capacity(*image.disk().open()->allocated() + spare);
    image.disk().arm({});
    ASSERT_EQ(image.create("t"), "");
    EXPECT_FALSE(image.image()->read_only()) << image.image()->info().error;
    ASSERT_EQ(image.compare(), "");
    if (image.world().snapshots.contains(2)) {
      ASSERT_EQ(image.rename("t", "renamed"), "");
    }
    ASSERT_EQ(image.go_to("s"), "");
    ASSERT_EQ(image.compare(), "");
    ASSERT_EQ(image.power_cut(std::array<std::uint64_t, 3>{0, 1, spare + 5}), "");
  }
}

TEST(FullDisk, GoesOnWhenThereIsSpaceAgain) {
  TrackedImage image(small_chunks(kSize));
  ASSERT_EQ(image.write(0, pattern(8 * kSmallChunk, 1)), "");
  ASSERT_EQ(image.create("s"), "");
  image.disk().set_capacity(*image.disk().open()->allocated() + 3 * kSmallChunk);
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
