// An original image (version 1) through a mount: read-only whatever was asked for, and said so.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "mount_fixture.h"
#include "support/v1_writer.h"

namespace fvd::test {
namespace {

class MountV1 : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    V1Options options{.size = 2 * kMiB, .chunk_size = 65536};
    options.base_path = "v1-base.raw";
    options.base = v1_base(900000);
    options.block_size = 2560;
    V1Writer writer(options);
    write_some(writer);
    content_ = writer.content();
    writer.save(image_, false);
    before_ = bytes_of(image_);
  }
  static Bytes bytes_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const auto* begin = reinterpret_cast<const std::byte*>(text.data());
    return {begin, begin + text.size()};
  }
  Bytes content_;
  Bytes before_;
};

TEST_F(MountV1, IsReadOnlyAndComplete) {
  expect_quiet_log_ = false;  // it says so there too
  const CommandResult result = try_mount();
  ASSERT_EQ(result.status, 0) << result.err;
  read_pid_file();
  EXPECT_NE(result.err.find("read-only"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("fvd upgrade"), std::string::npos) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_TRUE(bytes_of(current()) == content_);
  EXPECT_ERRNO(EROFS, ::open(current().c_str(), O_WRONLY));
  EXPECT_ERRNO(EROFS, ::mkdir(snapshot("s1").c_str(), 0755));
  EXPECT_ERRNO(EROFS, ::truncate(current().c_str(), 4 << 20));
  EXPECT_FALSE(std::filesystem::exists(path("parent")));
  EXPECT_TRUE(std::filesystem::is_empty(path("snapshots")));
  const Bytes info = bytes_of(path(".fvd/info.json"));
  EXPECT_NE(std::string(reinterpret_cast<const char*>(info.data()), info.size()).find("\"format_version\": 1"),
            std::string::npos);
  EXPECT_NE(bytes_of(path(".fvd/metrics")).size(), 0U);
  EXPECT_NE(bytes_of(path(".fvd/tree")).size(), 0U);
  const int fd = ::open(current().c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  EXPECT_GE(::lseek(fd, 0, SEEK_DATA), 0);
  EXPECT_GE(::lseek(fd, 0, SEEK_HOLE), 0);
  ::close(fd);
  unmount();
  EXPECT_TRUE(bytes_of(image_) == before_);
}

TEST_F(MountV1, CanBeAskedForReadOnly) {
  mount("-o ro");
  EXPECT_TRUE(bytes_of(current()) == content_);
}

TEST_F(MountV1, NeedsItsBase) {
  std::filesystem::remove(std::filesystem::path(image_).parent_path() / "v1-base.raw");
  const CommandResult result = try_mount();
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("v1-base.raw"), std::string::npos) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
}

TEST_F(MountV1, IsWritableWhenUpgraded) {
  const auto upgraded = Image::upgrade(image_);
  ASSERT_TRUE(upgraded.is_ok()) << upgraded.status().message();
  mount();
  EXPECT_TRUE(bytes_of(current()) == content_);
  take("s1");
  const int fd = ::open(current().c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const Bytes piece = Bytes(5000, std::byte{3});
  EXPECT_EQ(::pwrite(fd, piece.data(), piece.size(), 700), static_cast<ssize_t>(piece.size()));
  EXPECT_EQ(::fsync(fd), 0);
  ::close(fd);
  EXPECT_TRUE(bytes_of(disk("s1")) == content_);
  std::copy(piece.begin(), piece.end(), content_.begin() + 700);
  EXPECT_TRUE(bytes_of(current()) == content_);
  unmount();
  expect_sound();
}

}  // namespace
}  // namespace fvd::test
