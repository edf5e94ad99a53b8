// What PosixFile promises beyond the File interface: how files are opened, made and locked.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "base/aligned_bytes.h"
#include "io/posix_file.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

class PosixFileOpen : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(path_) << "content"; }

  TemporaryDirectory directory_;
  std::string path_ = directory_.file("file");
  std::string absent_ = directory_.file("absent");
};

TEST_F(PosixFileOpen, MissingFilesAreNotFoundAndNamed) {
  const auto file = PosixFile::open(absent_, {});
  EXPECT_CODE(Code::kNotFound, file);
  EXPECT_EQ(file.status().system_error(), ENOENT);
  EXPECT_NE(file.status().message().find(absent_), std::string::npos);
}

TEST_F(PosixFileOpen, CreatingNeverOpensWhatIsThere) {
  EXPECT_CODE(Code::kExists, PosixFile::open(path_, {.create = true}));
  ASSERT_OK(PosixFile::open(absent_, {.create = true}));
  EXPECT_EQ(::access(absent_.c_str(), F_OK), 0);
}

TEST_F(PosixFileOpen, CreateOrReuseChangesNothingYet) {
  {
    const auto file = PosixFile::open(path_, {.create_or_reuse = true});
    ASSERT_OK(file);
    EXPECT_EQ(*(*file)->size(), 7U);
  }
  ASSERT_OK(PosixFile::open(absent_, {.create_or_reuse = true}));
}

TEST_F(PosixFileOpen, DirectoriesPipesAndDevicesOfCharactersAreUnsupported) {
  EXPECT_CODE(Code::kUnsupported, PosixFile::open("/tmp", {.read_only = true}));
  EXPECT_CODE(Code::kUnsupported, PosixFile::open("/dev/null", {}));
  ASSERT_EQ(::mkfifo(absent_.c_str(), 0600), 0);
  EXPECT_CODE(Code::kUnsupported, PosixFile::open(absent_, {}));
}

TEST_F(PosixFileOpen, ReadOnlyRefusesWrites) {
  const auto file = PosixFile::open(path_, {.read_only = true});
  ASSERT_OK(file);
  EXPECT_FALSE((*file)->write(0, pattern(1, 1)).is_ok());
  EXPECT_EQ(*(*file)->size(), 7U);
}

// Aligned as direct I/O asks for it, and not; into what is there, and past the end.
TEST_F(PosixFileOpen, DurableWritesAreReadBack) {
  for (const char* directory : {"/tmp", "/var/tmp", "/dev/shm"}) {
    std::string path = std::string(directory) + "/fvd-durable-XXXXXX";
    const int made = ::mkstemp(path.data());
    ASSERT_GE(made, 0);
    ::close(made);
    {
      const auto file = PosixFile::open(path, {.lock = LockMode::kExclusive});
      ASSERT_OK(file);
      ASSERT_OK((*file)->write(0, pattern(40000, 1)));
      Bytes wanted = pattern(40000, 1);
      wanted.resize(81920);
      const auto put = [&](std::uint64_t offset, std::size_t length, std::uint64_t seed, std::size_t shift) {
        AlignedBytes memory(length + shift);
        const Bytes data = pattern(length, seed);
        std::copy(data.begin(), data.end(), memory.begin() + static_cast<std::ptrdiff_t>(shift));
        std::copy(data.begin(), data.end(), wanted.begin() + static_cast<std::ptrdiff_t>(offset));
        ASSERT_OK((*file)->write_durably(offset, std::span<const std::byte>(memory).subspan(shift)));
        Bytes seen(length);
        ASSERT_OK((*file)->read(offset, seen));
        ASSERT_EQ(seen, data) << directory << ' ' << offset;
      };
      put(4096, 8192, 2, 0);
      put(8192, 4096, 3, 1);
      put(513, 700, 4, 0);
      put(36864, 8192, 5, 0);
      ASSERT_OK((*file)->write(37000, pattern(100, 6)));  // through the page cache again
      std::copy_n(pattern(100, 6).begin(), 100, wanted.begin() + 37000);
      put(40960, 4096, 7, 0);
      put(77824, 4096, 8, 0);
      put(0, 0, 9, 0);
      Bytes seen(81920);
      ASSERT_OK((*file)->read(0, seen));
      EXPECT_EQ(difference(wanted, seen), "") << directory;
      EXPECT_EQ(*(*file)->size(), 81920U);
      EXPECT_CODE(Code::kLocked, PosixFile::open(path, {.lock = LockMode::kExclusive}));
    }
    ::unlink(path.c_str());
  }
}

TEST_F(PosixFileOpen, LocksExcludeAndShare) {
  const PosixFileOptions exclusive{.lock = LockMode::kExclusive};
  const PosixFileOptions shared{.read_only = true, .lock = LockMode::kShared};
  {
    const auto writer = PosixFile::open(path_, exclusive);
    ASSERT_OK(writer);
    EXPECT_CODE(Code::kLocked, PosixFile::open(path_, exclusive));
    EXPECT_CODE(Code::kLocked, PosixFile::open(path_, shared));
    EXPECT_OK(PosixFile::open(path_, {.read_only = true}));
  }
  const auto reader = PosixFile::open(path_, shared);
  ASSERT_OK(reader);
  EXPECT_OK(PosixFile::open(path_, shared));
  EXPECT_CODE(Code::kLocked, PosixFile::open(path_, exclusive));
}

TEST_F(PosixFileOpen, ALockThatIsRefusedLeavesTheOther) {
  const auto writer = PosixFile::open(path_, {.lock = LockMode::kExclusive});
  ASSERT_OK(writer);
  for (int i = 0; i < 3; ++i) EXPECT_CODE(Code::kLocked, PosixFile::open(path_, {.lock = LockMode::kExclusive}));
}

// `umount` returns before its daemon has closed the image, so a script's next command meets an owner that is closing.
TEST_F(PosixFileOpen, AnOwnerThatIsClosingIsWaitedFor) {
  auto owner = PosixFile::open(path_, {.lock = LockMode::kExclusive});
  ASSERT_OK(owner);
  (*owner)->closing();
  std::atomic<bool> closed{false};
  std::thread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    closed = true;
    owner->reset();
  });
  const auto next = PosixFile::open(path_, {.lock = LockMode::kExclusive});
  EXPECT_OK(next);
  EXPECT_TRUE(closed) << "two owners at once";
  closer.join();
}

TEST(PosixFileErrors, CarryTheHostsErrno) {
  const TemporaryDirectory directory;
  const auto file = PosixFile::open(directory.file("file"), {.create = true});
  ASSERT_OK(file);
  const Status status = (*file)->write(UINT64_MAX / 2 - 10, pattern(100, 1));
  EXPECT_FALSE(status.is_ok());
  EXPECT_NE(status.system_error(), 0);
  EXPECT_FALSE((*file)->truncate(UINT64_MAX).is_ok());
}

}  // namespace
}  // namespace fvd::test
