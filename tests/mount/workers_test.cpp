// Many requests at once, small and as large as they come: each gets its own data, and the daemon's memory for requests
// has a limit that does not depend on how many there are.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "mount/mount_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FVD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FVD_SANITIZED 1
#endif
#endif

namespace fvd::test {
namespace {

constexpr std::size_t kLarge = 1U << 20;
constexpr std::size_t kPage = 4096;

struct Free {
  void operator()(char* memory) const { std::free(memory); }
};
using Aligned = std::unique_ptr<char, Free>;

Aligned aligned(std::size_t size) { return Aligned(static_cast<char*>(std::aligned_alloc(kPage, size))); }

// Writes a piece of its own again and again, with content that tells piece and round, and reads it back.
void write_and_read(const std::string& path, std::size_t piece, std::size_t size, int rounds, std::atomic<int>* wrong) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_DIRECT));
  const Aligned out = aligned(size);
  const Aligned in = aligned(size);
  const auto offset = static_cast<off_t>(piece * kLarge);
  for (int round = 0; round < rounds; ++round) {
    std::memset(out.get(), static_cast<int>(1 + (piece * 31 + static_cast<std::size_t>(round)) % 255), size);
    const bool right = ::pwrite(fd.get(), out.get(), size, offset) == static_cast<ssize_t>(size) &&
                       ::pread(fd.get(), in.get(), size, offset) == static_cast<ssize_t>(size) &&
                       std::memcmp(in.get(), out.get(), size) == 0;
    if (!right) ++*wrong;
  }
}

class WorkersTest : public MountTest {
 protected:
  // KiB
  [[nodiscard]] long resident() const {
    std::ifstream status("/proc/" + std::to_string(daemon_pid()) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
    }
    return -1;
  }
};

TEST_F(WorkersTest, ManyRequestsAtOnceOfEverySizeEachGetTheirOwnData) {
  constexpr std::size_t kPieces = 24;
  create_image(kPieces * kLarge);
  mount();
  const long before = resident();
  ASSERT_GT(before, 0);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::size_t piece = 0; piece < kPieces; ++piece) {
    // Each third: the largest that there are, between, and the smallest; the last ones many times as often.
    const std::size_t size = piece % 3 == 0 ? kLarge : piece % 3 == 1 ? 96 * 1024 : kPage;
    threads.emplace_back(write_and_read, current(), piece, size, piece % 3 == 2 ? 400 : 40, &wrong);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
#if !defined(FVD_SANITIZED)
  EXPECT_LE(resident() - before, 9 * 1024) << "KiB more than before";
#endif
  unmount();
  expect_sound();
}

}  // namespace
}  // namespace fvd::test
