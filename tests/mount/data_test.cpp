// Reading and writing disks through the mount: sizes, ends, holes, alignment, and what the kernel caches of them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include "mount/mount_fixture.h"

namespace fvd::test {
namespace {

class DataTest : public MountTest {
 protected:
  // The value of a counter of .fvd/metrics, summed over its labels.
  [[nodiscard]] std::uint64_t metric(const std::string& name) const {
    std::istringstream lines(read_all(path(".fvd/metrics")));
    std::uint64_t sum = 0;
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind(name + " ", 0) == 0 || line.rfind(name + "{", 0) == 0) {
        sum += std::stoull(line.substr(line.rfind(' ') + 1));
      }
    }
    return sum;
  }
  [[nodiscard]] bool all_zero(const std::string& file) const {
    const std::string data = read_all(file);
    return data.size() == 16 * kMiB && data.find_first_not_of('\0') == std::string::npos;
  }
};

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
std::unique_ptr<char, Free> aligned(std::size_t size) {
  return std::unique_ptr<char, Free>(static_cast<char*>(std::aligned_alloc(4096, size)));
}

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

TEST_F(DataTest, OpeningWithTruncEmptiesTheDiskAndKeepsItsSize) {
  for (const char* options : {"", "-o writeback_cache"}) {
    mount(options);
    write_at(current(), 5 * kMiB, "old data");
    take("s1");
    write_at(current(), 7 * kMiB, "more old data");
    Fd reader(::open(current().c_str(), O_RDONLY));
    char byte = 0;
    ASSERT_EQ(::pread(reader.get(), &byte, 1, 7 * kMiB), 1);  // now in the page cache
    ASSERT_EQ(byte, 'm');
    ASSERT_EQ(run(": > " + current()).status, 0);
    // With the writeback cache the kernel is told of the size in the background.
    for (int i = 0; i < 2000 && stat_of(current()).st_size == 0; ++i) ::usleep(1000);
    EXPECT_EQ(stat_of(current()).st_size, static_cast<off_t>(16 * kMiB)) << options;
    EXPECT_EQ(stat_of(current()).st_blocks, 0) << options;
    ASSERT_EQ(::pread(reader.get(), &byte, 1, 7 * kMiB), 1);
    EXPECT_EQ(byte, '\0') << options;
    EXPECT_TRUE(all_zero(current())) << options;
    EXPECT_EQ(read_at(disk("s1"), 5 * kMiB, 8), "old data");
    EXPECT_OK(::rmdir(snapshot("s1").c_str()));
    reader.reset();
    unmount();
  }
}

TEST_F(DataTest, ACopyOntoTheDiskLeavesNothingOfTheOldContentUnderItsHoles) {
  const std::string source = directory_ + "/new.img";
  ASSERT_EQ(run("truncate -s 16M " + source + " && printf new | dd of=" + source + " bs=1M seek=9 conv=notrunc").status,
            0);
  for (const char* options : {"", "-o writeback_cache"}) {
    for (const char* how : {"cp ", "cp --sparse=always ", "cp --sparse=never "}) {
      mount(options);
      ASSERT_EQ(run("yes old | head -c 16M | dd of=" + current() + " bs=1M conv=notrunc iflag=fullblock").status, 0);
      const CommandResult copied = run(how + source + " " + current());
      EXPECT_EQ(copied.status, 0) << copied.err;
      const CommandResult compared = run("cmp " + source + " " + current());
      EXPECT_EQ(compared.status, 0) << options << how << compared.out << compared.err;
      unmount();
    }
  }
}

TEST_F(DataTest, EmptyingForgetsWhatAMappingLeftDirty) {
  mount();
  const Fd fd(::open(current().c_str(), O_RDWR));
  auto* map = static_cast<char*>(::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  std::memset(map, 'd', kMiB);
  ASSERT_EQ(run(": > " + current()).status, 0);
  ::munmap(map, kMiB);
  EXPECT_TRUE(all_zero(current()));
}

// The kernel takes the file for empty when it is opened so, and tells whoever has it mapped with a SIGBUS.
TEST_F(DataTest, EmptyingLeavesMappingsOfOthersUsable) {
  mount();
  Fd fd(::open(current().c_str(), O_RDWR));
  auto* memory = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 4 * kMiB));
  ASSERT_NE(memory, MAP_FAILED);
  memory[0] = 'x';
  Fd(::open(current().c_str(), O_WRONLY | O_TRUNC)).reset();
  // write(2) from the mapping fails where an access would end the test. The close is told asynchronously.
  int ends[2];
  ASSERT_OK(::pipe(ends));
  char byte = 'y';
  int error = EFAULT;
  for (int i = 0; i < 1000 && error != 0; ++i) {
    error = failure_of([&] { return ::write(ends[1], memory, 1); });
    if (error != 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(error == 0 ? ::read(ends[0], &byte, 1) : 0, 1);
  EXPECT_EQ(byte, '\0');
  ::close(ends[0]);
  ::close(ends[1]);
  ::munmap(memory, 4096);
}

// With the writeback cache the kernel believes its own size: each open that empties the disk makes that 0, and the
// daemon has to tell it better, also when the next such open comes while it does.
TEST_F(DataTest, TheSizeComesBackHoweverManyEmptyTheDiskAtOnce) {
  mount("-o writeback_cache");
  const Fd fd(::open(current().c_str(), O_RDWR));
  for (int round = 0; round < 10; ++round) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 20; ++i) EXPECT_GE(Fd(::open(current().c_str(), O_WRONLY | O_TRUNC)).get(), 0);
      });
    }
    for (std::thread& thread : threads) thread.join();
    struct stat st {};
    for (int i = 0; i < 1000 && st.st_size != 16 * kMiB; ++i) {
      ASSERT_OK(::fstat(fd.get(), &st));
      if (st.st_size != 16 * kMiB) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_EQ(st.st_size, 16 * kMiB) << "round " << round;
  }
}

TEST_F(DataTest, TruncateGrowsAndShrinksOnlyWithLeave) {
  mount();
  take("s1");
  EXPECT_OK(::truncate(current().c_str(), 20 * kMiB));
  EXPECT_EQ(stat_of(current()).st_size, static_cast<off_t>(20 * kMiB));
  EXPECT_EQ(stat_of(disk("s1")).st_size, static_cast<off_t>(16 * kMiB));
  EXPECT_EQ(run("truncate -s 21M " + current()).status, 0);
  EXPECT_ERRNO(EINVAL, ::truncate(current().c_str(), 21 * kMiB + 100));
  EXPECT_ERRNO(EPERM, ::truncate(current().c_str(), 20 * kMiB));
  EXPECT_ERRNO(EPERM, ::truncate(current().c_str(), 0));
  EXPECT_EQ(run("truncate -s 1M " + current()).status, 1);
  EXPECT_OK(::truncate(current().c_str(), 21 * kMiB));
  write_at(current(), 21 * kMiB - 3, "end");
  EXPECT_EQ(stat_of(current()).st_size, static_cast<off_t>(21 * kMiB));
}

TEST_F(DataTest, ShrinkingNeedsTheDiskForItself) {
  mount("-o shrink");
  write_at(current(), 10 * kMiB, "tail");
  {
    const Fd writer(::open(current().c_str(), O_WRONLY));
    EXPECT_ERRNO(EBUSY, ::truncate(current().c_str(), 8 * kMiB));
    const Fd second(::open(current().c_str(), O_WRONLY));
    EXPECT_ERRNO(EBUSY, ::ftruncate(second.get(), 8 * kMiB));
    EXPECT_OK(::truncate(current().c_str(), 17 * kMiB));
    EXPECT_EQ(stat_of(current()).st_size, static_cast<off_t>(17 * kMiB));
  }
  EXPECT_OK(::truncate(current().c_str(), 8 * kMiB));
  EXPECT_EQ(stat_of(current()).st_size, static_cast<off_t>(8 * kMiB));
  EXPECT_EQ(run("truncate -s 4M " + current()).status, 0);
  EXPECT_OK(::truncate(current().c_str(), 16 * kMiB));
  EXPECT_EQ(read_at(current(), 10 * kMiB, 4), std::string(4, '\0'));
}

TEST_F(DataTest, FallocateFreesAndZeroes) {
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

TEST_F(DataTest, SeeksDataAndHoles) {
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
TEST_F(DataTest, SeeksFindWhatTheKernelStillHolds) {
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

TEST_F(DataTest, CopiesStaySparseAndDuTellsWhatIsAllocated) {
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

TEST_F(DataTest, CopyFileRangeBringsBackWithoutCopying) {
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

TEST_F(DataTest, StatfsShowsTheDiskAndTheHostsFreeSpace) {
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

TEST_F(DataTest, AFullHostIsReportedAndLosesNothing) {
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
