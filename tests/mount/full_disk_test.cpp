// A host file system that fills up: a small real ext4 on a loop device. Only root can make one.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "mount/mount_fixture.h"

namespace fvd::test {
namespace {

class FullDiskTest : public MountTest {
 protected:
  static constexpr std::uint64_t kDisk = 128;  // MiB, virtual

  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount a small ext4";
    small_ = directory_ + "/small";
    const CommandResult made = run("truncate -s 40M " + small_ + ".img && mkfs.ext4 -q -m 0 -b 4096 " + small_ +
                                   ".img && mkdir " + small_ + " && mount -o loop " + small_ + ".img " + small_);
    if (made.status != 0) GTEST_SKIP() << "cannot mount a small ext4: " << made.err;
    extra_mounts_.push_back(small_);
    image_ = small_ + "/disk.fvd";
    CreateOptions options;
    options.virtual_size = kDisk * kMiB;
    options.chunk_size = 64 << 10;
    options.journal_half_size = 64 << 10;  // small, so that it fills up while the disk is full
    create_image(options);
    expect_quiet_log_ = false;
    mount();
  }

  // Leaves the host without a block for anybody: first other files take them, then the image itself.
  void fill_host() {
    // As often as the image still gives something back.
    const CommandResult filled = run("cd " + small_ +
                                     " && for i in 1 2 3 4 5 6 7 8 9 10; do cat /dev/zero > filler$i; sync -f .; "
                                     "[ $i -lt 3 ] || [ $(stat -f -c %a .) -ge 64 ] || break; done 2> /dev/null; "
                                     "stat -f -c %a .");
    ASSERT_LT(std::stoul(filled.out), 64U) << "blocks are free";
  }
  void use_up() {
    fill_host();
    const Fd fd(::open(current().c_str(), O_RDWR));
    std::uint64_t at = kDisk * 16;
    while (at > kDisk * 8 && ::pwrite(fd.get(), "used", 4, static_cast<off_t>(--at * 65536)) == 4) {
    }
    ASSERT_EQ(errno, ENOSPC);
  }
  void empty_host() { ASSERT_EQ(run("rm " + small_ + "/filler*; sync -f " + small_).status, 0); }

  static std::string block(std::uint64_t number, char kind) {
    std::string text(4096, kind);
    const std::string head = std::to_string(number) + "\n";
    return text.replace(0, head.size(), head);
  }

  std::string small_;
};

// Blocks that nothing was written to yet, each in a chunk of its own, until the host has no more; every one that was
// acknowledged is then synced and read back, whatever the way of writing.
TEST_F(FullDiskTest, WritersHearOfItAndNothingAcknowledgedIsLost) {
  fill_host();
  for (const int flags : {0, O_DIRECT}) {
    SCOPED_TRACE(flags == 0 ? "buffered" : "direct");
    const Fd fd(::open(current().c_str(), O_RDWR | flags));
    ASSERT_GE(fd.get(), 0);
    const std::uint64_t first = flags == 0 ? 0 : kDisk / 2;
    std::uint64_t written = 0;
    int error = 0;
    alignas(4096) static char buffer[4096];
    for (; written < kDisk / 2 * 16 && error == 0; ++written) {
      std::memcpy(buffer, block(written, 'w').data(), sizeof buffer);
      if (::pwrite(fd.get(), buffer, sizeof buffer, static_cast<off_t>(first * kMiB + written * 65536)) < 0)
        error = errno;
      if (error != 0) break;
      if (written % 16 == 15) {
        ASSERT_OK(::fsync(fd.get()));
      }
    }
    EXPECT_EQ(error, ENOSPC);
    EXPECT_OK(::fsync(fd.get()));
    EXPECT_OK(::fdatasync(fd.get()));
    for (std::uint64_t i = 0; i < written; ++i)
      ASSERT_EQ(read_at(current(), first * kMiB + i * 65536, 4096), block(i, 'w')) << i;
    EXPECT_EQ(read_at(current(), first * kMiB + written * 65536, 4096), std::string(4096, '\0'));
  }
  kill_daemon();
  remove_dead_mount();
  expect_sound();
  mount();
}

// What is in place already can be overwritten and synced, any number of times.
TEST_F(FullDiskTest, OverwritesAndSyncsGoOn) {
  write_at(current(), 0, std::string(4 * kMiB, 'a'));
  {
    const Fd fd(::open(current().c_str(), O_RDWR));
    ASSERT_OK(::fsync(fd.get()));
    fill_host();
    for (int round = 0; round < 32; ++round) {
      ASSERT_EQ(::pwrite(fd.get(), "bbbb", 4, round * 100000 + 100), 4);
      ASSERT_OK(::fsync(fd.get()));
    }
  }
  kill_daemon();
  remove_dead_mount();
  expect_sound();
  mount();
  for (std::uint64_t round = 0; round < 32; ++round) EXPECT_EQ(read_at(current(), round * 100000 + 98, 8), "aabbbbaa");
}

TEST_F(FullDiskTest, SnapshotsAreRefusedWholeAndReadsGoOn) {
  write_at(current(), 0, std::string(2 * kMiB, '1'));
  take("s1");
  write_at(current(), 0, std::string(2 * kMiB, '2'));
  take("s2");
  write_at(current(), 0, std::string(2 * kMiB, '3'));
  ASSERT_EQ(run("sync -f " + current()).status, 0);
  use_up();
  int error = 0;
  unsigned taken = 0;
  for (error = 0; taken < 100 && error == 0; taken += error == 0)
    if (::mkdir(snapshot("x" + std::to_string(taken)).c_str(), 0755) != 0) error = errno;
  EXPECT_EQ(error, ENOSPC);
  const std::string story = tree();
  EXPECT_EQ(list(path("snapshots")).size(), 2 + taken) << story;
  EXPECT_EQ(read_at(disk("s1"), kMiB, 3), "111");
  EXPECT_EQ(read_at(disk("s2"), kMiB, 3), "222");
  EXPECT_EQ(read_at(current(), kMiB, 3), "333");
  const Fd fd(::open(current().c_str(), O_RDONLY));
  EXPECT_OK(::fsync(fd.get()));
  EXPECT_EQ(tree(), story);
  // A directory that is no longer than what is held goes there, and the one it replaces is held in its stead: time and
  // again, and for a deletion as well.
  for (const auto& [from, to] : {std::pair("s1", "one"), std::pair("one", "two"), std::pair("two", "s1")}) {
    EXPECT_OK(::rename(snapshot(from).c_str(), snapshot(to).c_str()));
  }
  EXPECT_EQ(tree(), story);
  EXPECT_OK(::rmdir(snapshot("s1").c_str()));
  EXPECT_EQ(read_at(disk("s2"), kMiB, 3), "222");
  empty_host();
  take("later");
  write_at(current(), 0, std::string(8 * kMiB, '4'));
  EXPECT_OK(::fsync(fd.get()));
  EXPECT_EQ(read_at(disk("later"), kMiB, 3), "333");
}

// The journal is small, so that many of these syncs need a new base table.
TEST_F(FullDiskTest, SyncsAndDeletionsGoThrough) {
  write_at(current(), 0, std::string(16 * kMiB, '1'));
  take("s1");
  write_at(current(), 0, std::string(kMiB, '2'));
  take("s2");
  write_at(current(), 0, std::string(kMiB, '3'));
  {
    const Fd fd(::open(current().c_str(), O_RDWR));
    ASSERT_OK(::fsync(fd.get()));
    fill_host();
    for (int i = 0; i < 600; ++i) {
      SCOPED_TRACE(i);
      const int chunk = i % 16;
      const int block = 8 + i / 16 % 8;
      // Over what a snapshot holds, this is written down as zeros and takes no space but the journal's.
      ASSERT_OK(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, chunk * 65536 + block * 4096, 4096));
      ASSERT_OK(::fsync(fd.get()));
      if (i % 100 == 0) fill_host();
    }
  }
  ASSERT_OK(::rmdir(snapshot("s1").c_str()));
  EXPECT_EQ(read_at(disk("s2"), 0, 3), "222");
  EXPECT_EQ(read_at(current(), 0, 3), "333");
  EXPECT_EQ(read_at(current(), 15 * kMiB, 3), "111");
  // The first change of a new mount is a deletion.
  unmount();
  fill_host();
  mount();
  ASSERT_OK(::rmdir(snapshot("s2").c_str()));
  EXPECT_EQ(read_at(current(), 0, 3), "333");
  empty_host();
  write_at(current(), 20 * kMiB, std::string(kMiB, '4'));
  take("s3");
}

TEST_F(FullDiskTest, GoesOnWithoutARemountWhenThereIsSpaceAgain) {
  write_at(current(), 0, std::string(kMiB, '1'));
  take("s1");
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    fill_host();
    const Fd fd(::open(current().c_str(), O_RDWR));
    std::uint64_t at = static_cast<std::uint64_t>(round) * 30 + 1;
    const std::uint64_t from = at;
    const std::string data(kMiB, static_cast<char>('a' + round));
    while (::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(at * kMiB)) == ssize_t{kMiB}) ++at;
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(read_at(disk("s1"), 0, 3), "111");
    empty_host();
    ASSERT_EQ(::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(at * kMiB)), ssize_t{kMiB});
    EXPECT_OK(::fsync(fd.get()));
    for (; at != from; --at) EXPECT_EQ(read_at(current(), at * kMiB + kMiB - 3, 3), data.substr(0, 3));
    const std::string name = "r" + std::to_string(round);
    take(name);
    // And the space for the next round.
    ASSERT_OK(::rmdir(snapshot(name).c_str()));
    ASSERT_OK(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kMiB, (kDisk - 1) * kMiB));
    ASSERT_OK(::fsync(fd.get()));
  }
}

}  // namespace
}  // namespace fvd::test
