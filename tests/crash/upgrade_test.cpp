// Power cut at every I/O of an upgrade, with sectors lost, kept and torn, and at each mixture of old and new sectors of
// page 0: what is left is an image of version 1 or of version 2, with the content that it had, and can be upgraded.
#include "image/upgrade.h"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <iostream>

#include "support/image_rig.h"
#include "support/v1_writer.h"

namespace fvd::test {
namespace {

using Kind = format::Identity::Kind;

constexpr std::uint64_t kMostOperations = 1000;

class CutUpgrade : public ::testing::TestWithParam<const char*> {
 protected:
  std::pair<Bytes, Bytes> start() {  // the image, and what is in it
    const std::string which = GetParam();
    V1Options options{.size = 20 * kSmallChunk + 512, .chunk_size = kSmallChunk};
    if (which.find("Flat") != std::string::npos) options.chunk_size = 0;
    if (which.find("Base") != std::string::npos) {
      options.base_path = directory_.file("base.raw");  // the disk in memory has no directory
      options.base = v1_base(700001);
      options.block_size = 1536;
      std::ofstream(options.base_path, std::ios::binary)
          .write(reinterpret_cast<const char*>(options.base.data()), static_cast<std::streamsize>(options.base.size()));
    }
    options.journal_size = which.find("NoJournal") != std::string::npos ? 0 : 32768;
    V1Writer writer(options);
    write_some(writer);
    return {which.find("Killed") != std::string::npos ? writer.killed() : writer.closed(), writer.content()};
  }

  static std::shared_ptr<CrashDisk> disk_of(const Bytes& bytes) {
    SparseBytes content;
    content.write(0, bytes);
    return CrashDisk::make(std::move(content));
  }

  static Kind kind_of(CrashDisk& disk) {
    const auto identity = identify(*disk.open());
    EXPECT_OK(identity);
    return identity ? identity->kind : Kind::kUnknown;
  }

  // The disk holds what it held, whatever version it is of, also after an upgrade.
  static void inspect(CrashDisk& disk, const Bytes& content) {
    EXPECT_EQ(check_findings(*disk.open()), "");
    OpenOptions reading = quiet();
    reading.read_only = true;
    const Kind kind = kind_of(disk);
    ASSERT_NE(kind, Kind::kUnknown);
    {
      const auto image = Image::open_on(disk.open(), reading);
      ASSERT_OK(image);
      ASSERT_EQ((*image)->info().format_version, kind == Kind::kVersion1 ? 1U : 2U);
      ASSERT_EQ(difference(content, read_all(**image)), "");
    }
    const auto upgraded = Image::upgrade_on(disk.open());
    ASSERT_OK(upgraded);
    EXPECT_EQ(check_findings(*disk.open()), "");
    const auto image = Image::open_on(disk.open(), quiet());
    ASSERT_OK(image);
    ASSERT_EQ((*image)->info().format_version, 2U);
    ASSERT_EQ(difference(content, read_all(**image)), "");
    take(**image, "s1");
    write_all(**image, 512, pattern(9000, 1));
    EXPECT_OK((*image)->close());
    EXPECT_EQ(check_findings(*disk.open()), "");
  }

  // Every mixture of sectors that a cut of the write of page 0 can leave.
  static void inspect_torn(const CrashDisk& before, CrashDisk& after, const Bytes& content) {
    std::array<std::byte, 4096> old_page;
    std::array<std::byte, 4096> new_page;
    ASSERT_OK(before.clone()->open()->read(0, old_page));
    ASSERT_OK(after.open()->read(0, new_page));
    for (std::uint32_t mask = 0; mask < 256; ++mask) {
      SCOPED_TRACE("mask " + std::to_string(mask));
      auto page = old_page;
      for (std::size_t i = 0; i < 8; ++i) {
        if ((mask >> i & 1) != 0) std::copy_n(&new_page[i * 512], 512, &page[i * 512]);
      }
      const auto disk = before.clone();
      const auto file = disk->open();
      ASSERT_OK(file->write(0, page));
      ASSERT_OK(file->sync());
      if (page != old_page) {
        EXPECT_EQ(kind_of(*disk), Kind::kVersion2);
      }
      inspect(*disk, content);
      if (HasFatalFailure()) return;
    }
  }

  TemporaryDirectory directory_;
};

TEST_P(CutUpgrade, AtEveryOperation) {
  const auto [bytes, content] = start();
  std::uint64_t cuts = 0;
  bool torn = false;
  for (std::uint64_t cut_at = 1; cut_at < kMostOperations; ++cut_at) {
    SCOPED_TRACE("power cut at I/O " + std::to_string(cut_at));
    const auto disk = disk_of(bytes);
    disk->arm({.kind = Fault::Kind::kCut, .at = cut_at});
    const auto upgraded = Image::upgrade_on(disk->open());
    const bool survived = !disk->is_cut();
    // The last thing that closing does, cutting off the free end of the file, nobody waits for.
    EXPECT_TRUE(upgraded.is_ok() || !survived);
    const auto none = disk->reboot(0);
    const auto all = disk->reboot(1);
    if (!torn && kind_of(*none) == Kind::kVersion1 && kind_of(*all) == Kind::kVersion2) {
      torn = true;
      ASSERT_NO_FATAL_FAILURE(inspect_torn(*none, *all, content));
    }
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
      SCOPED_TRACE("seed " + std::to_string(seed));
      const auto left = disk->reboot(seed < 4 ? seed : seed + 64 * cut_at);
      ASSERT_NO_FATAL_FAILURE(inspect(*left, content));
      ++cuts;
    }
    if (survived) break;
  }
  EXPECT_TRUE(torn) << "the write of page 0 was not found";
  std::cout << "[     cuts ] " << cuts << " disks inspected\n";
}

// A failing disk or a full one leaves what was there.
TEST_P(CutUpgrade, FailsAtEveryOperation) {
  const auto [bytes, content] = start();
  for (const Fault::Kind kind : {Fault::Kind::kError, Fault::Kind::kNoSpace}) {
    for (std::uint64_t at = 1; at < kMostOperations; ++at) {
      SCOPED_TRACE("fault at I/O " + std::to_string(at));
      const auto disk = disk_of(bytes);
      disk->arm({.kind = kind, .at = at});
      (void)Image::upgrade_on(disk->open());
      const bool hit = disk->fault_hit();
      disk->disarm();
      ASSERT_NO_FATAL_FAILURE(inspect(*disk->reboot(7 + at), content));
      ASSERT_NO_FATAL_FAILURE(inspect(*disk->clone(), content));
      if (!hit) break;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Images, CutUpgrade,
                         ::testing::Values("Compact", "CompactKilled", "CompactNoJournal", "CompactBaseKilled", "Flat",
                                           "FlatBaseKilled", "FlatBaseNoJournal"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace fvd::test
