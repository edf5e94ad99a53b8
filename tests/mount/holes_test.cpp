// What the disk allocates, seen through the mount: freeing, holes, sparse and shared copies, and a host without space.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "mount/data_fixture.h"

namespace fvd::test {
namespace {

class HolesTest : public DataTest {};

TEST_F(HolesTest, FallocateFreesAndZeroes) {
  mount();
  write_at(current(), 0, std::string(4 * kMiB, 'x'));
  const Fd fd(::open(current().c_str(), O_RDWR));
  const auto blocks = [this] { return stat_of(current()).st_blocks * 512; };
  const auto full = blocks();
  ASSERT_OK(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kMiB, kMiB));
  EXPECT_EQ(blocks(), full - static_cast<off_t>(kMiB));
  ASSERT_OK(::fallocate(fd.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 100, 1000));
  ASSERT_OK(::fallocate(fd.get(), FALLOC_FL_ZERO_RANGE, 3 * kMiB, kMiB));
  EXPECT_EQ(read_at(current(), 99, 1002), "x" + std::string(1000, '\0') + "x");
  EXPECT_EQ(read_at(current(), kMiB, 10), std::string(10, '\0'));
  EXPECT_EQ(read_at(current(), 3 * kMiB - 1, 2), std::string("x\0", 2));

  constexpr off_t kEnd = 16 * kMiB;
  EXPECT_OK(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kEnd, 1));
  EXPECT_OK(::fallocate(fd.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, kEnd, 1));
  EXPECT_OK(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kEnd + 4096, 4096));
  EXPECT_OK(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kEnd - 512, kMiB));
  EXPECT_ERRNO(ENOSPC, ::fallocate(fd.get(), FALLOC_FL_ZERO_RANGE, kEnd, 4096));
  EXPECT_ERRNO(ENOSPC, ::fallocate(fd.get(), 0, kEnd - 512, 4096));
  EXPECT_ERRNO(EOPNOTSUPP, ::fallocate(fd.get(), FALLOC_FL_COLLAPSE_RANGE, 0, kMiB));
  EXPECT_ERRNO(EOPNOTSUPP, ::fallocate(fd.get(), FALLOC_FL_INSERT_RANGE, 0, kMiB));
  EXPECT_ERRNO(EOPNOTSUPP, ::fallocate(fd.get(), FALLOC_FL_UNSHARE_RANGE, 0, kMiB));
  EXPECT_EQ(stat_of(current()).st_size, kEnd);

  ASSERT_OK(::fallocate(fd.get(), 0, 8 * kMiB, 2 * kMiB));
  EXPECT_EQ(read_at(current(), 8 * kMiB, 10), std::string(10, '\0'));
  EXPECT_OK(::fallocate(fd.get(), FALLOC_FL_KEEP_SIZE, kEnd - 4096, 8192));
}

TEST_F(HolesTest, SeeksDataAndHoles) {
  mount();
  write_at(current(), 2 * kMiB, std::string(kMiB, 'd'));
  write_at(current(), 8 * kMiB, std::string(4096, 'd'));
  take("s1");
  ASSERT_EQ(run(": > " + current()).status, 0);
  const Fd fd(::open(disk("s1").c_str(), O_RDONLY));
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_DATA), static_cast<off_t>(2 * kMiB));
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_HOLE), 0);
  EXPECT_EQ(::lseek(fd.get(), 2 * kMiB + 5, SEEK_DATA), static_cast<off_t>(2 * kMiB + 5));
  EXPECT_EQ(::lseek(fd.get(), 2 * kMiB, SEEK_HOLE), static_cast<off_t>(3 * kMiB));
  EXPECT_EQ(::lseek(fd.get(), 3 * kMiB, SEEK_DATA), static_cast<off_t>(8 * kMiB));
  EXPECT_ERRNO(ENXIO, ::lseek(fd.get(), 15 * kMiB, SEEK_DATA));
  EXPECT_EQ(::lseek(fd.get(), 15 * kMiB, SEEK_HOLE), static_cast<off_t>(15 * kMiB));
  EXPECT_ERRNO(ENXIO, ::lseek(fd.get(), 16 * kMiB, SEEK_DATA));
  EXPECT_ERRNO(ENXIO, ::lseek(fd.get(), 16 * kMiB, SEEK_HOLE));
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_END), static_cast<off_t>(16 * kMiB));
  const Fd empty(::open(current().c_str(), O_RDONLY));
  EXPECT_ERRNO(ENXIO, ::lseek(empty.get(), 0, SEEK_DATA));
  EXPECT_EQ(::lseek(empty.get(), 0, SEEK_HOLE), 0);
}

// What was stored through a mapping, or lies in the writeback cache, is data although the daemon has not seen it yet.
TEST_F(HolesTest, SeeksFindWhatTheKernelStillHolds) {
  for (const char* options : {"", "-o writeback_cache"}) {
    mount(options);
    Fd fd(::open(current().c_str(), O_RDWR));
    ASSERT_OK(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 16 * kMiB));
    auto* memory = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 4 * kMiB));
    ASSERT_NE(memory, MAP_FAILED);
    memory[0] = 'm';
    ASSERT_EQ(::pwrite(fd.get(), "w", 1, 8 * kMiB), 1);
    Fd reader(::open(current().c_str(), O_RDONLY));
    EXPECT_EQ(::lseek(reader.get(), 0, SEEK_DATA), static_cast<off_t>(4 * kMiB)) << options;
    EXPECT_EQ(::lseek(reader.get(), 5 * kMiB, SEEK_DATA), static_cast<off_t>(8 * kMiB)) << options;
    memory[0] = 'n';
    ASSERT_EQ(::pwrite(fd.get(), "w", 1, 12 * kMiB), 1);
    const std::string copy = directory_ + "/copy.raw";
    EXPECT_EQ(run("cp " + current() + " " + copy + " && cmp " + current() + " " + copy).status, 0) << options;
    ::munmap(memory, 4096);
    fd.reset();
    reader.reset();
    unmount();
  }
}

TEST_F(HolesTest, CopiesStaySparseAndDuTellsWhatIsAllocated) {
  mount();
  write_at(current(), 2 * kMiB, std::string(kMiB, 'd'));
  take("s1");
  const std::string copy = directory_ + "/copy.raw";
  for (const std::string& file : {current(), disk("s1")}) {
    EXPECT_EQ(run("du -k --apparent-size " + file + " | cut -f1").out, "16384\n");
    EXPECT_EQ(run("du -k " + file + " | cut -f1").out, "1024\n");
    for (const char* how : {"", "--sparse=always ", "--sparse=auto "}) {
      ASSERT_EQ(run(std::string("cp ") + how + file + " " + copy).status, 0);
      EXPECT_LE(stat_of(copy).st_blocks * 512, static_cast<off_t>(kMiB + 65536)) << how;
      EXPECT_EQ(run("cmp " + file + " " + copy).status, 0);
    }
    ASSERT_EQ(run("dd bs=1M status=none if=" + file + " of=" + copy + " && cmp " + file + " " + copy).status, 0);
  }
}

TEST_F(HolesTest, CopyFileRangeBringsBackWithoutCopying) {
  mount();
  write_at(current(), 0, std::string(8 * kMiB, 'o'));
  take("s1");
  write_at(current(), 0, std::string(8 * kMiB, 'n'));
  const Fd in(::open(disk("s1").c_str(), O_RDONLY));
  const Fd out(::open(current().c_str(), O_RDWR));
  const auto written_before = metric("fvd_guest_write_bytes_total");
  loff_t from = 0;
  loff_t to = 0;
  for (std::uint64_t left = 4 * kMiB; left != 0;) {
    const ssize_t count = ::copy_file_range(in.get(), &from, out.get(), &to, left, 0);
    ASSERT_GT(count, 0) << strerror(errno);
    left -= static_cast<std::uint64_t>(count);
  }
  EXPECT_EQ(metric("fvd_guest_write_bytes_total"), written_before);
  EXPECT_EQ(read_at(current(), 4 * kMiB - 1, 2), "on");
  EXPECT_EQ(read_at(current(), 0, 1), "o");
  // Within current-state, unaligned, and past the ends.
  from = 100;
  to = 6 * kMiB + 7;
  EXPECT_EQ(::copy_file_range(out.get(), &from, out.get(), &to, 5000, 0), 5000);
  EXPECT_EQ(read_at(current(), 6 * kMiB + 6, 5002), "n" + std::string(5000, 'o') + "n");
  from = 0;
  to = 100;
  EXPECT_ERRNO(EINVAL, ::copy_file_range(out.get(), &from, out.get(), &to, 4096, 0));
  from = 16 * kMiB;
  to = 0;
  EXPECT_EQ(::copy_file_range(in.get(), &from, out.get(), &to, 4096, 0), 0);
  from = 0;
  to = 16 * kMiB;
  EXPECT_ERRNO(ENOSPC, ::copy_file_range(in.get(), &from, out.get(), &to, 4096, 0));
  EXPECT_EQ(run("cp --sparse=never " + disk("s1") + " " + current() + " && cmp " + disk("s1") + " " + current()).status,
            0);
  EXPECT_EQ(run("cp " + disk("s1") + " " + current() + " && cmp " + disk("s1") + " " + current()).status, 0);
  EXPECT_EQ(read_at(disk("s1"), 8 * kMiB - 1, 2), std::string("o\0", 2));
}

TEST_F(HolesTest, StatfsShowsTheDiskAndTheHostsFreeSpace) {
  mount();
  write_at(current(), 0, std::string(kMiB, 'x'));
  struct statvfs here {};
  struct statvfs host {};
  ASSERT_OK(::statvfs(current().c_str(), &here));
  ASSERT_OK(::statvfs(image_.c_str(), &host));
  EXPECT_EQ(here.f_blocks * here.f_frsize, 16 * kMiB);
  EXPECT_EQ((here.f_blocks - here.f_bfree) * here.f_frsize, kMiB);
  const double ratio =
      static_cast<double>(here.f_bavail * here.f_frsize) / static_cast<double>(host.f_bavail * host.f_frsize);
  EXPECT_NEAR(ratio, 1.0, 0.2);
  EXPECT_EQ(here.f_namemax, 255U);
}

TEST_F(HolesTest, AFullHostIsReportedAndLosesNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount a small file system";
  const std::string small = directory_ + "/small";
  ASSERT_OK(::mkdir(small.c_str(), 0755));
  if (run("mount -t tmpfs -o size=12M tmpfs " + small).status != 0) GTEST_SKIP() << "cannot mount a tmpfs";
  extra_mounts_.push_back(small);
  image_ = small + "/disk.fvd";
  create_image(64 * kMiB);
  expect_quiet_log_ = false;
  mount();
  write_at(current(), 0, "kept");
  const Fd fd(::open(current().c_str(), O_RDWR));
  ASSERT_OK(::fsync(fd.get()));
  const std::string data(kMiB, 'f');
  int error = 0;
  for (std::uint64_t i = 1; i < 32 && error == 0; ++i) {
    if (::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(i * kMiB)) < 0) error = errno;
  }
  EXPECT_EQ(error, ENOSPC);
  EXPECT_EQ(read_at(current(), 0, 4), "kept");
  EXPECT_EQ(read_at(current(), kMiB, 2), "ff");
  EXPECT_EQ(run("mount -o remount,size=64M " + small).status, 0);
  EXPECT_EQ(::pwrite(fd.get(), "again", 5, 30 * kMiB), 5) << strerror(errno);
  EXPECT_OK(::fsync(fd.get()));
  EXPECT_OK(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kMiB));
}

}  // namespace
}  // namespace fvd::test
