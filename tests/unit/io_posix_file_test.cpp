// What PosixFile promises beyond the File interface: how files are opened, made and locked.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

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
