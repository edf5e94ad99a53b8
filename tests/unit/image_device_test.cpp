// An image on a block device that is full to the last chunk. Needs root and a loop device, but for the last test.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "io/posix_file.h"
#include "support/image_rig.h"
#include "support/memory_file.h"

namespace fvd::test {
namespace {

// The first line that a command prints; "" when it fails.
std::string first_line(const std::string& command) {
  std::array<char, 256> line{};
  FILE* pipe = ::popen((command + " 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return "";
  if (std::fgets(line.data(), line.size(), pipe) == nullptr) line[0] = '\0';
  const bool failed = ::pclose(pipe) != 0;
  const std::string text(line.data());
  return failed ? "" : text.substr(0, text.find('\n'));
}

class ImageOnADevice : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "loop devices need root";
    const std::string backing = directory_.file("backing");
    std::ofstream(backing).close();
    std::filesystem::resize_file(backing, 16 * kMiB);
    device_ = first_line("losetup --find --show " + backing);
    if (device_.empty()) GTEST_SKIP() << "no loop device can be had here";
    CreateOptions options = small_chunks(64 * kMiB);
    options.overwrite = true;
    options.journal_half_size = 64 * kKiB;
    ASSERT_OK(Image::create(device_, options));
  }
  void TearDown() override {
    if (!device_.empty()) (void)first_line("losetup --detach " + device_);
  }
  std::unique_ptr<Image> open() {
    auto image = Image::open(device_, quiet());
    EXPECT_OK(image);
    return image ? std::move(image).value() : nullptr;
  }

  TemporaryDirectory directory_;
  std::string device_;
};

TEST_F(ImageOnADevice, DeletionsGoThroughHoweverFullItIs) {
  for (const bool reopened : {false, true}) {
    SCOPED_TRACE(reopened);
    auto image = open();
    ASSERT_TRUE(image);
    for (std::uint64_t i = 0; i < 3; ++i) {
      write_all(*image, i * kSmallChunk, pattern(2 * kSmallChunk, i));
      take(*image, "s" + std::to_string(i));
    }
    const Bytes s2 = read_snapshot(*image, "s2");
    std::uint64_t at = 8 * kSmallChunk;
    const Bytes chunk = pattern(kSmallChunk, 9);
    Status full;
    while (full.is_ok() && at < 64 * kMiB) {
      full = image->write(at, chunk).status();
      at += kSmallChunk;
    }
    ASSERT_EQ(full.code(), Code::kNoSpace) << full.message();
    ASSERT_OK(image->flush());
    if (reopened) {
      image.reset();
      image = open();
      ASSERT_TRUE(image);
    }
    for (const char* name : {"s1", "s0"}) {
      SCOPED_TRACE(name);
      ASSERT_OK(image->snapshot_delete(name));
    }
    EXPECT_EQ(difference(s2, read_snapshot(*image, "s2")), "");
    ASSERT_OK(image->snapshot_delete("s2"));
    ASSERT_OK(image->flush());
    EXPECT_EQ(difference(chunk, read_range(*image, 8 * kSmallChunk, kSmallChunk)), "");
    ASSERT_OK(image->discard(0, 64 * kMiB));
    ASSERT_OK(image->close());
    image.reset();
    auto file = PosixFile::open(device_, {.read_only = true});
    ASSERT_OK(file);
    EXPECT_EQ(check_findings(**file), "");
  }
}

// A device that takes its time to zero.
class SlowDevice final : public MemoryFile {
 public:
  using MemoryFile::MemoryFile;
  [[nodiscard]] bool is_block_device() const override { return true; }
  Status truncate(std::uint64_t size) override {
    return size <= bytes().size() ? Status::ok() : Status(Code::kNoSpace, "the device ends there");
  }
  Status zero(std::uint64_t offset, std::uint64_t length) override {
    if (slow) {
      zeroing = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
    }
    return MemoryFile::zero(offset, length);
  }
  std::atomic<bool> slow = false;
  std::atomic<bool> zeroing = false;
};

// What another thread is giving back is neither waiting for it any more nor free yet.
TEST(ImageOnASlowDevice, AWriteWaitsForSpaceThatIsJustBeingGivenBack) {
  auto file = std::make_unique<SlowDevice>(std::vector<std::byte>(4 * kMiB));
  SlowDevice& device = *file;
  CreateOptions options = small_chunks(64 * kMiB);
  options.overwrite = true;
  options.journal_half_size = 64 * kKiB;
  ASSERT_OK(Image::create_on(device, options));
  auto image = Image::open_on(std::move(file), quiet());
  ASSERT_OK(image);
  const Bytes chunk = pattern(kSmallChunk, 1);
  std::uint64_t end = 0;
  while ((*image)->write(end, chunk)) end += kSmallChunk;
  ASSERT_GT(end, 20 * kSmallChunk);
  ASSERT_OK((*image)->flush());
  ASSERT_OK((*image)->discard(0, 10 * kSmallChunk));
  device.slow = true;
  std::thread flusher([&] { EXPECT_OK((*image)->flush()); });
  while (!device.zeroing) std::this_thread::yield();
  EXPECT_OK((*image)->write(end, chunk));
  flusher.join();
  device.slow = false;
  EXPECT_EQ(difference(chunk, read_range(**image, end, kSmallChunk)), "");
  ASSERT_OK((*image)->close());
}

}  // namespace
}  // namespace fvd::test
