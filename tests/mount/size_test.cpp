// Emptying current-state and changing its size through the mount.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "mount/data_fixture.h"

namespace fvd::test {
namespace {

class SizeTest : public DataTest {};

TEST_F(SizeTest, OpeningWithTruncEmptiesTheDiskAndKeepsItsSize) {
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

TEST_F(SizeTest, ACopyOntoTheDiskLeavesNothingOfTheOldContentUnderItsHoles) {
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

TEST_F(SizeTest, EmptyingForgetsWhatAMappingLeftDirty) {
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
TEST_F(SizeTest, EmptyingLeavesMappingsOfOthersUsable) {
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
TEST_F(SizeTest, TheSizeComesBackHoweverManyEmptyTheDiskAtOnce) {
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

TEST_F(SizeTest, TruncateGrowsAndShrinksOnlyWithLeave) {
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

TEST_F(SizeTest, ShrinkingNeedsTheDiskForItself) {
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

}  // namespace
}  // namespace fvd::test
