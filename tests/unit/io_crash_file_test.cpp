// The disk that the crash tests stand on does what it says.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "support/crash_file.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

Bytes content(CrashDisk& disk, std::uint64_t offset, std::size_t length) {
  Bytes bytes(length);
  EXPECT_OK(disk.open()->read(offset, bytes));
  return bytes;
}

TEST(CrashFile, SyncedContentSurvivesEverySeed) {
  const auto disk = CrashDisk::make();
  const auto file = disk->open();
  ASSERT_OK(file->write(0, pattern(10000, 1)));
  ASSERT_OK(file->sync());
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    EXPECT_EQ(content(*disk->reboot(seed), 0, 10000), pattern(10000, 1));
  }
}

TEST(CrashFile, ADurableWriteSurvivesAloneAndIsNotTakenBack) {
  const auto disk = CrashDisk::make();
  const auto file = disk->open();
  ASSERT_OK(file->write(0, pattern(8192, 1)));
  ASSERT_OK(file->sync());
  ASSERT_OK(file->write(0, pattern(8192, 2)));
  ASSERT_OK(file->zero(4096, 4096));
  ASSERT_OK(file->write_durably(2048, pattern(4096, 3)));
  const Bytes old = pattern(8192, 1);
  std::set<Bytes> begins;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const auto after = disk->reboot(seed);
    ASSERT_EQ(content(*after, 2048, 4096), pattern(4096, 3)) << seed;
    begins.insert(content(*after, 0, 2048));
  }
  EXPECT_GT(begins.size(), 1U);
  EXPECT_TRUE(begins.contains(Bytes(old.begin(), old.begin() + 2048)));
  EXPECT_EQ(content(*disk->reboot(0), 6144, 2048), Bytes(old.begin() + 6144, old.end()));
}

TEST(CrashFile, FixedSeedsKeepNothingAllOrThePart) {
  const auto disk = CrashDisk::make();
  const auto file = disk->open();
  ASSERT_OK(file->write(0, pattern(512, 1)));
  ASSERT_OK(file->write(512, pattern(512, 2)));
  EXPECT_EQ(content(*disk->reboot(0), 0, 1024), zeros(1024));
  EXPECT_EQ(content(*disk->reboot(1), 0, 512), pattern(512, 1));
  EXPECT_EQ(content(*disk->reboot(1), 512, 512), pattern(512, 2));
  EXPECT_EQ(content(*disk->reboot(2), 0, 512), pattern(512, 1));
  EXPECT_EQ(content(*disk->reboot(2), 512, 512), zeros(512));
  EXPECT_EQ(content(*disk->reboot(3), 0, 512), zeros(512));
  EXPECT_EQ(content(*disk->reboot(3), 512, 512), pattern(512, 2));
}

TEST(CrashFile, UnsyncedSectorsAreOldOrNewAndTornInBetween) {
  const auto disk = CrashDisk::make();
  const auto file = disk->open();
  ASSERT_OK(file->write(0, pattern(4096, 1)));
  ASSERT_OK(file->sync());
  ASSERT_OK(file->write(0, pattern(4096, 2)));
  ASSERT_OK(file->write(0, pattern(4096, 3)));
  std::set<std::string> outcomes;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Bytes seen = content(*disk->reboot(seed), 0, 4096);
    std::string outcome;
    for (std::ptrdiff_t at = 0; at < 4096; at += 512) {
      const Bytes sector(seen.begin() + at, seen.begin() + at + 512);
      char version = '?';
      for (const char one : {'1', '2', '3'}) {
        const Bytes whole = pattern(4096, static_cast<std::uint64_t>(one - '0'));
        if (Bytes(whole.begin() + at, whole.begin() + at + 512) == sector) version = one;
      }
      outcome += version;
    }
    EXPECT_EQ(outcome.find('?'), std::string::npos) << "seed " << seed;
    outcomes.insert(outcome);
  }
  EXPECT_TRUE(outcomes.contains("11111111"));
  EXPECT_TRUE(outcomes.contains("22222222"));
  EXPECT_TRUE(outcomes.contains("33333333"));
  EXPECT_GT(outcomes.size(), 10U);
}

TEST(CrashFile, ASectorGoesToTheDiskWhole) {
  const auto disk = CrashDisk::make();
  const auto file = disk->open();
  ASSERT_OK(file->write(0, pattern(1024, 1)));
  ASSERT_OK(file->sync());
  ASSERT_OK(file->write(100, pattern(10, 2)));
  const Bytes first = content(*disk, 0, 512);
  ASSERT_OK(file->write(200, pattern(10, 3)));
  ASSERT_OK(file->zero(300, 10));
  const Bytes last = content(*disk, 0, 512);
  for (std::uint64_t seed = 4; seed < 100; ++seed) {
    const Bytes seen = content(*disk->reboot(seed), 0, 512);
    Bytes second = last;
    std::copy_n(first.begin() + 300, 10, second.begin() + 300);
    const Bytes old = content(*disk->reboot(0), 0, 512);
    EXPECT_TRUE(seen == old || seen == first || seen == second || seen == last) << "seed " << seed;
  }
}

TEST(CrashFile, ZeroingAndSizeAreLostLikeWrites) {
  const auto disk = CrashDisk::make();
  const auto file = disk->open();
  ASSERT_OK(file->write(0, pattern(8192, 1)));
  ASSERT_OK(file->sync());
  ASSERT_OK(file->zero(0, 4096));
  ASSERT_OK(file->truncate(100000));
  EXPECT_EQ(content(*disk->reboot(0), 0, 8192), pattern(8192, 1));
  EXPECT_EQ(*disk->reboot(0)->open()->size(), 8192U);
  EXPECT_EQ(content(*disk->reboot(1), 0, 4096), zeros(4096));
  EXPECT_EQ(*disk->reboot(1)->open()->size(), 100000U);
}

TEST(CrashFile, NothingWorksAfterTheCut) {
  const auto disk = CrashDisk::make();
  const auto file = disk->open();
  disk->arm({.kind = Fault::Kind::kCut, .at = 2});
  ASSERT_OK(file->write(0, pattern(512, 1)));
  EXPECT_FALSE(disk->is_cut());
  EXPECT_CODE(Code::kIo, file->sync());
  EXPECT_TRUE(disk->is_cut());
  Bytes bytes(1);
  EXPECT_CODE(Code::kIo, file->read(0, bytes));
  EXPECT_CODE(Code::kIo, file->write(0, bytes));
  EXPECT_CODE(Code::kIo, file->truncate(0));
  EXPECT_CODE(Code::kIo, file->zero(0, 1));
  EXPECT_CODE(Code::kIo, file->reserve(0, 1));
  EXPECT_CODE(Code::kIo, file->size());
  EXPECT_CODE(Code::kIo, disk->open()->read(0, bytes));
  EXPECT_OK(disk->reboot(0)->open()->read(0, bytes));
}

TEST(CrashFile, AFailedSyncMayLoseWhatALaterSyncDoesNotBringBack) {
  std::set<bool> kept;
  for (int round = 0; round < 20; ++round) {
    const auto disk = CrashDisk::make();
    const auto file = disk->open();
    for (int i = 0; i < round; ++i) ASSERT_OK(file->sync());
    disk->arm({.kind = Fault::Kind::kError, .at = 2});
    ASSERT_OK(file->write(0, pattern(512, 1)));
    EXPECT_CODE(Code::kIo, file->sync());
    ASSERT_OK(file->sync());
    EXPECT_EQ(content(*disk, 0, 512), pattern(512, 1)) << "the host's cache still shows it";
    kept.insert(content(*disk->reboot(1), 0, 512) == pattern(512, 1));
  }
  EXPECT_EQ(kept.size(), 2U);
}

TEST(CrashFile, ErrorsComeOnceOrForEver) {
  const auto disk = CrashDisk::make();
  const auto file = disk->open();
  disk->arm({.kind = Fault::Kind::kError, .at = 1});
  EXPECT_CODE(Code::kIo, file->write(0, pattern(512, 1)));
  EXPECT_TRUE(disk->fault_hit());
  EXPECT_EQ(disk->hit_operation(), DiskOperation::kWrite);
  EXPECT_OK(file->write(0, pattern(512, 1)));
  disk->arm({.kind = Fault::Kind::kError, .at = 2, .forever = true});
  EXPECT_OK(file->write(0, pattern(512, 1)));
  EXPECT_CODE(Code::kIo, file->write(0, pattern(512, 1)));
  EXPECT_CODE(Code::kIo, file->sync());
  disk->disarm();
  EXPECT_OK(file->sync());
  disk->arm({.kind = Fault::Kind::kError, .at = 1, .reads = true});
  EXPECT_OK(file->write(0, pattern(512, 1)));
  Bytes bytes(1);
  EXPECT_CODE(Code::kIo, file->read(0, bytes));
}

TEST(CrashFile, AFullDiskRefusesOnlyWhatAllocates) {
  const auto disk = CrashDisk::make();
  const auto file = disk->open();
  ASSERT_OK(file->write(0, pattern(8192, 1)));
  disk->set_capacity(8192);
  EXPECT_OK(file->write(100, pattern(8000, 2)));
  EXPECT_CODE(Code::kNoSpace, file->write(8192, pattern(1, 3)));
  EXPECT_CODE(Code::kNoSpace, file->reserve(8192, 4096));
  EXPECT_OK(file->truncate(1 << 20));
  EXPECT_OK(file->zero(0, 4096));
  EXPECT_OK(file->write(8192, pattern(1, 3)));
}

TEST(CrashFile, AShortWriteStoresItsBeginning) {
  const auto disk = CrashDisk::make();
  const auto file = disk->open();
  disk->arm({.kind = Fault::Kind::kShortWrite, .at = 1});
  EXPECT_CODE(Code::kIo, file->write(0, pattern(2000, 1)));
  Bytes wanted = pattern(2000, 1);
  wanted.resize(512);
  wanted.resize(2000);
  EXPECT_EQ(content(*disk, 0, 2000), wanted);
}

TEST(CrashFile, AKillKeepsAllThatWasWritten) {
  const auto disk = CrashDisk::make();
  ASSERT_OK(disk->open()->write(5, pattern(100, 1)));
  EXPECT_EQ(content(*disk->clone()->reboot(0), 5, 100), pattern(100, 1));
}

}  // namespace
}  // namespace fvd::test
