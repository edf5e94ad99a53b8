// Reading and writing disks through the mount: ends, alignment, and what the kernel caches of them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>

#include "mount/data_fixture.h"

namespace fvd::test {
namespace {

TEST_F(DataTest, ReadsWhatWasWrittenAndZerosElsewhere) {
  mount();
  write_at(current(), 3 * kMiB - 5, "0123456789");
  EXPECT_EQ(read_at(current(), 3 * kMiB - 5, 10), "0123456789");
  EXPECT_EQ(read_at(current(), 0, 4), std::string(4, '\0'));
  EXPECT_EQ(read_at(current(), 16 * kMiB - 2, 10), std::string(2, '\0'));
  EXPECT_EQ(read_at(current(), 16 * kMiB, 10), "");
  unmount();
  mount();
  EXPECT_EQ(read_at(current(), 3 * kMiB - 5, 10), "0123456789");
}

bool kernel_is_at_least(int major, int minor) {
  utsname name{};
  std::istringstream words(::uname(&name) == 0 ? name.release : "");
  int have_major = 0;
  int have_minor = 0;
  char dot = 0;
  words >> have_major >> dot >> have_minor;
  return have_major > major || (have_major == major && have_minor >= minor);
}

TEST_F(DataTest, ADiskDoesNotGrowByWriting) {
  mount();
  for (const int direct : {0, O_DIRECT}) {
    const Fd fd(::open(current().c_str(), O_WRONLY | direct));
    const auto data = aligned(4096);
    std::memset(data.get(), 'e', 4096);
    const off_t size = 16 * kMiB;
    EXPECT_ERRNO(ENOSPC, ::pwrite(fd.get(), data.get(), 4096, size));
    EXPECT_ERRNO(ENOSPC, ::pwrite(fd.get(), data.get(), 4096, size + 4096));
    // An older kernel turns a short answer to an O_DIRECT write into EIO; what lies before the end is written all the
    // same.
    const ssize_t count = ::pwrite(fd.get(), data.get(), 4096, size - 512);
    EXPECT_TRUE(count == 512 || (direct != 0 && !kernel_is_at_least(6, 12) && count == -1 && errno == EIO)) << count;
    EXPECT_EQ(stat_of(current()).st_size, size);
    EXPECT_EQ(read_at(current(), 16 * kMiB - 512, 1024), std::string(512, 'e'));
  }
}

// Whoever writes past the page cache is seen by those who read and map through it, also when they do so at the same
// time.
TEST_F(DataTest, DirectWritersAndCachedReadersAgree) {
  mount();
  const Fd direct(::open(current().c_str(), O_RDWR | O_DIRECT));
  const Fd cached(::open(current().c_str(), O_RDWR));
  void* map = ::mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, direct.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  const auto* words = static_cast<volatile std::uint64_t*>(map);
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    std::uint64_t word = 0;
    while (!stop) {
      for (off_t page = 0; page < 16; ++page) (void)!::pread(cached.get(), &word, sizeof word, page * 4096);
    }
  });
  const auto data = aligned(4096);
  for (std::uint64_t round = 1; round <= 300; ++round) {
    for (off_t page = 0; page < 16; ++page) {
      std::memcpy(data.get(), &round, sizeof round);
      if (::pwrite(direct.get(), data.get(), 4096, page * 4096) != 4096) ADD_FAILURE() << errno;
    }
  }
  stop = true;
  reader.join();
  for (std::uint64_t page = 0; page < 16; ++page) {
    std::uint64_t word = 0;
    ASSERT_EQ(::pread(cached.get(), &word, sizeof word, static_cast<off_t>(page * 4096)), ssize_t{sizeof word});
    EXPECT_EQ(word, 300U) << page;
    EXPECT_EQ(words[page * 512], 300U) << page;
  }
  // And the other way round: what a mapping made dirty is there for a direct reader.
  static_cast<std::uint64_t*>(map)[512] = 7;
  const auto page = aligned(4096);
  ASSERT_EQ(::pread(direct.get(), page.get(), 4096, 4096), 4096);
  std::uint64_t word = 0;
  std::memcpy(&word, page.get(), sizeof word);
  EXPECT_EQ(word, 7U);
  ::munmap(map, 65536);
}

// There the kernel takes a write past the end without asking, and grows the file in its own eyes.
TEST_F(DataTest, ADiskDoesNotGrowByWritingIntoTheWritebackCache) {
  mount("-o writeback_cache");
  const off_t size = 16 * kMiB;
  {
    const Fd fd(::open(current().c_str(), O_WRONLY));
    ASSERT_EQ(::pwrite(fd.get(), "past the end", 12, size + 5000), 12);
    EXPECT_ERRNO(ENOSPC, ::fsync(fd.get()));
    const auto back_to_size = [&] { return stat_of(current()).st_size == size; };
    for (int i = 0; i < 1000 && !back_to_size(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(stat_of(current()).st_size, size);
    EXPECT_EQ(::pwrite(fd.get(), "inside", 6, 0), 6);
    EXPECT_OK(::fsync(fd.get()));
  }
  EXPECT_EQ(read_at(current(), size - 5, 100), std::string(5, '\0'));
}

TEST_F(DataTest, DirectRequestsMustBeAlignedTo512) {
  mount();
  take("s1");
  const auto data = aligned(8192);
  for (const std::string& file : {current(), disk("s1")}) {
    const Fd fd(::open(file.c_str(), O_RDONLY | O_DIRECT));
    ASSERT_GE(fd.get(), 0);
    EXPECT_EQ(::pread(fd.get(), data.get(), 512, 512), 512);
    EXPECT_ERRNO(EINVAL, ::pread(fd.get(), data.get(), 1, 0));
    EXPECT_ERRNO(EINVAL, ::pread(fd.get(), data.get(), 512, 1));
    EXPECT_ERRNO(EINVAL, ::pread(fd.get(), data.get(), 513, 0));
  }
  const Fd fd(::open(current().c_str(), O_RDWR | O_DIRECT));
  EXPECT_EQ(::pwrite(fd.get(), data.get(), 1536, 512), 1536);
  EXPECT_ERRNO(EINVAL, ::pwrite(fd.get(), data.get(), 100, 0));
  EXPECT_ERRNO(EINVAL, ::pwrite(fd.get(), data.get(), 512, 256));
}

TEST_F(DataTest, SnapshotsAreReadOnly) {
  mount();
  write_at(current(), 0, "frozen");
  take("s1");
  for (const int flags : {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_WRONLY | O_TRUNC, O_RDWR | O_CREAT}) {
    EXPECT_ERRNO(EROFS, ::open(disk("s1").c_str(), flags, 0644)) << flags;
  }
  EXPECT_ERRNO(EROFS, ::truncate(disk("s1").c_str(), 0));
  write_at(current(), 0, "melted");
  EXPECT_EQ(read_at(disk("s1"), 0, 6), "frozen");
  const Fd fd(::open(disk("s1").c_str(), O_RDONLY));
  EXPECT_OK(::fsync(fd.get()));
}

TEST_F(DataTest, AWriteDoesNotEmptyTheCache) {
  mount();
  write_at(current(), 0, std::string(4 * kMiB, 'c'));
  const Fd fd(::open(current().c_str(), O_RDWR));
  std::string buffer(4 * kMiB, '\0');
  ASSERT_EQ(::pread(fd.get(), buffer.data(), buffer.size(), 0), static_cast<ssize_t>(buffer.size()));
  const auto before = metric("fvd_guest_read_bytes_total");
  ASSERT_EQ(::pwrite(fd.get(), "w", 1, 8 * kMiB), 1);
  EXPECT_EQ(stat_of(current()).st_size, static_cast<off_t>(16 * kMiB));  // a fresh mtime is seen
  ASSERT_EQ(::pread(fd.get(), buffer.data(), buffer.size(), 0), static_cast<ssize_t>(buffer.size()));
  // Nor does another open.
  EXPECT_EQ(read_at(current(), 0, 4 * kMiB).size(), 4 * kMiB);
  EXPECT_EQ(metric("fvd_guest_read_bytes_total"), before);
}

TEST_F(DataTest, AnswersTheRest) {
  mount();
  take("s1");
  const Fd fd(::open(current().c_str(), O_RDWR));
  int value = 0;
  EXPECT_ERRNO(ENOTTY, ::ioctl(fd.get(), 0x1268 /* BLKSSZGET */, &value));
  EXPECT_ERRNO(ENOTTY, ::ioctl(fd.get(), 0x801c581e /* XFS_IOC_DIOINFO */, &value));
  EXPECT_OK(::fsync(fd.get()));
  EXPECT_OK(::fdatasync(fd.get()));
  for (const std::string& name : {mount_point_, path("snapshots"), snapshot("s1")}) {
    const Fd directory(::open(name.c_str(), O_RDONLY | O_DIRECTORY));
    EXPECT_OK(::fsync(directory.get())) << name;
  }
  EXPECT_EQ(run("sync -f " + current()).status, 0);
  EXPECT_EQ(stat_of(current()).st_blksize, 4096);
  EXPECT_EQ(stat_of(current()).st_nlink, 1U);
}

TEST_F(DataTest, LocksAreTheKernels) {
  mount();
  const Fd one(::open(current().c_str(), O_RDWR));
  const Fd two(::open(current().c_str(), O_RDWR));
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = 100;
  lock.l_len = 1;
  EXPECT_OK(::fcntl(one.get(), F_OFD_SETLK, &lock));
  EXPECT_ERRNO(EAGAIN, ::fcntl(two.get(), F_OFD_SETLK, &lock));
  lock.l_type = F_UNLCK;
  EXPECT_OK(::fcntl(one.get(), F_OFD_SETLK, &lock));
  lock.l_type = F_WRLCK;
  EXPECT_OK(::fcntl(two.get(), F_OFD_SETLK, &lock));
}

}  // namespace
}  // namespace fvd::test
