// What opening does, and does not do, to an image that was not closed or cannot be read.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 10 * kSmallChunk;

// A killed image with a snapshot, a base table and records in its journal; current-state is `pattern(kSize, 2)`.
std::shared_ptr<CrashDisk> unclean_disk() {
  CreateOptions options = small_chunks(kSize);
  options.journal_half_size = 16384;
  const auto disk = make_disk(options);
  const auto image = open_disk(*disk);
  write_all(*image, 0, pattern(kSize, 1));
  take(*image, "s");
  write_all(*image, 0, pattern(kSize, 2));
  EXPECT_OK(image->flush());
  return disk->clone();
}

TEST(ImageRecovery, AnOpenThatFailsChangesNothing) {
  const auto disk = unclean_disk();
  for (std::uint64_t fail_at = 1;; ++fail_at) {
    SCOPED_TRACE("read error at read " + std::to_string(fail_at));
    const auto copy = disk->clone();
    copy->arm({.kind = Fault::Kind::kError, .at = fail_at, .reads = true});
    const bool opened = Image::open_on(copy->open(), quiet()).is_ok();
    copy->disarm();
    expect_sound(*copy);
    const auto image = open_disk(*copy);
    ASSERT_NE(image, nullptr);
    ASSERT_EQ(difference(pattern(kSize, 2), read_all(*image)), "");
    ASSERT_EQ(difference(pattern(kSize, 1), read_snapshot(*image, "s")), "");
    if (opened) break;
    ASSERT_LT(fail_at, 1000U);
  }
}

TEST(ImageRecovery, ASyncThatFailsAtOpenFailsTheOpen) {
  const auto disk = unclean_disk();
  disk->arm({.kind = Fault::Kind::kError, .at = 1});
  EXPECT_CODE(Code::kIo, Image::open_on(disk->open(), quiet()));
  disk->disarm();
  const auto image = open_disk(*disk);
  ASSERT_NE(image, nullptr);
  EXPECT_EQ(difference(pattern(kSize, 2), read_all(*image)), "");
}

TEST(ImageRecovery, ManyKillsInARowLoseNothing) {
  auto disk = unclean_disk();
  Bytes wanted = pattern(kSize, 2);
  for (std::uint64_t i = 0; i < 100; ++i) {
    const auto image = open_disk(*disk);
    ASSERT_NE(image, nullptr);
    ASSERT_EQ(difference(wanted, read_all(*image)), "") << "kill " << i;
    const std::uint64_t offset = i * 52009 % (kSize - 4096);
    const Bytes data = pattern(1 + i * 37 % 4096, i);
    write_all(*image, offset, data);
    std::copy(data.begin(), data.end(), wanted.begin() + static_cast<std::ptrdiff_t>(offset));
    ASSERT_OK(image->flush());
    if (i % 10 == 3) take(*image, "kill" + std::to_string(i));
    disk = disk->reboot(i % 2 == 0 ? 0 : i + 10);
  }
  expect_sound(*disk);
}

TEST(ImageRecovery, WithoutAFlushEverySectorIsOldOrNew) {
  const auto disk = unclean_disk();
  const auto image = open_disk(*disk);
  write_all(*image, 0, pattern(kSize, 3));
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    const auto survivor = disk->reboot(seed);
    const auto again = open_disk(*survivor);
    ASSERT_NE(again, nullptr);
    const Bytes seen = read_all(*again);
    const Bytes old_content = pattern(kSize, 2);
    const Bytes new_content = pattern(kSize, 3);
    for (std::size_t at = 0; at < kSize; at += kSectorSize) {
      ASSERT_TRUE(std::equal(seen.begin() + static_cast<std::ptrdiff_t>(at),
                             seen.begin() + static_cast<std::ptrdiff_t>(at + kSectorSize),
                             old_content.begin() + static_cast<std::ptrdiff_t>(at)) ||
                  std::equal(seen.begin() + static_cast<std::ptrdiff_t>(at),
                             seen.begin() + static_cast<std::ptrdiff_t>(at + kSectorSize),
                             new_content.begin() + static_cast<std::ptrdiff_t>(at)))
          << "seed " << seed << " at " << at;
    }
    EXPECT_EQ(difference(pattern(kSize, 1), read_snapshot(*again, "s")), "");
  }
}

TEST(ImageRecovery, CommitsByItselfWithinItsInterval) {
  const auto disk = unclean_disk();
  OpenOptions options = quiet();
  options.commit_interval = std::chrono::milliseconds(1);
  const auto image = open_disk(*disk, options);
  write_all(*image, 0, pattern(kSize, 4));
  Bytes seen;
  for (int i = 0; i < 2000 && seen != pattern(kSize, 4); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    seen = read_all(*open_disk(*disk->clone()));
  }
  EXPECT_EQ(difference(pattern(kSize, 4), seen), "");
}

}  // namespace
}  // namespace fvd::test
