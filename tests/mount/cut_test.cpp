// The atomic cut: what a snapshot holds of writes before, during and after the mkdir that takes it.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "mount/mount_fixture.h"

namespace fvd::test {
namespace {

class CutTest : public MountTest, public ::testing::WithParamInterface<const char*> {
 protected:
  static constexpr std::size_t kPage = 4096;
};

TEST_P(CutTest, HoldsBufferedWritesThatHadReturned) {
  mount(GetParam());
  const Fd fd(::open(current().c_str(), O_RDWR));
  for (int i = 0; i < 20; ++i) {
    const std::string text = "round " + std::to_string(i);
    ASSERT_EQ(::pwrite(fd.get(), text.data(), text.size(), kMiB), static_cast<ssize_t>(text.size()));
    const std::string name = "s" + std::to_string(i);
    take(name);
    EXPECT_EQ(::pwrite(fd.get(), "later", 5, kMiB), 5);
    EXPECT_EQ(read_at(disk(name), kMiB, text.size()), text);
  }
}

TEST_P(CutTest, HoldsWritesOfADescriptorThatIsClosed) {
  mount(GetParam());
  for (int i = 0; i < 20; ++i) {
    const std::string text = "round " + std::to_string(i);
    write_at(current(), kMiB, text);
    const std::string name = "s" + std::to_string(i);
    take(name);
    write_at(current(), kMiB, "later   ");
    EXPECT_EQ(read_at(disk(name), kMiB, text.size()), text);
  }
}

TEST_P(CutTest, HoldsDirectWrites) {
  mount(GetParam());
  const Fd fd(::open(current().c_str(), O_RDWR | O_DIRECT));
  std::unique_ptr<char, decltype(&std::free)> page(static_cast<char*>(std::aligned_alloc(kPage, kPage)), &std::free);
  for (int i = 0; i < 20; ++i) {
    std::memset(page.get(), 'a' + i, kPage);
    ASSERT_EQ(::pwrite(fd.get(), page.get(), kPage, 0), static_cast<ssize_t>(kPage));
    const std::string name = "s" + std::to_string(i);
    take(name);
    std::memset(page.get(), 'Z', kPage);
    ASSERT_EQ(::pwrite(fd.get(), page.get(), kPage, 0), static_cast<ssize_t>(kPage));
    EXPECT_EQ(read_at(disk(name), 0, kPage), std::string(kPage, static_cast<char>('a' + i)));
  }
}

TEST_P(CutTest, HoldsWhatIsDirtyInASharedMapping) {
  mount(GetParam());
  Fd fd(::open(current().c_str(), O_RDWR));
  auto* map = static_cast<char*>(::mmap(nullptr, 4 * kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  fd.reset();  // the mapping keeps the file open by itself
  for (int i = 0; i < 10; ++i) {
    std::memset(map, 'a' + i, 4 * kMiB);
    const std::string name = "s" + std::to_string(i);
    take(name);
    std::memset(map, 'Z', 4 * kMiB);
    EXPECT_EQ(read_at(disk(name), 0, 4 * kMiB), std::string(4 * kMiB, static_cast<char>('a' + i)));
  }
  ::munmap(map, 4 * kMiB);
  take("last");
  EXPECT_EQ(read_at(disk("last"), 0, 4 * kMiB), std::string(4 * kMiB, 'Z'));
}

TEST_P(CutTest, KeepsTheCleanCache) {
  mount(GetParam());
  write_at(current(), 0, std::string(kMiB, 'c'));
  const Fd fd(::open(current().c_str(), O_RDWR));
  ASSERT_OK(::fsync(fd.get()));
  std::string buffer(kMiB, '\0');
  ASSERT_EQ(::pread(fd.get(), buffer.data(), kMiB, 0), static_cast<ssize_t>(kMiB));
  auto* map = static_cast<unsigned char*>(::mmap(nullptr, kMiB, PROT_READ, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  const auto cached = [&] {
    std::vector<unsigned char> pages(kMiB / kPage);
    EXPECT_OK(::mincore(map, kMiB, pages.data()));
    std::size_t count = 0;
    for (const unsigned char page : pages) count += page & 1U;
    return count;
  };
  const std::size_t before = cached();
  take("s1");
  EXPECT_GE(before, 200U);
  EXPECT_EQ(cached(), before);
  ::munmap(map, kMiB);
}

// Each writer writes page after page; a snapshot must hold its first n pages and no other, where n counts every write
// that had returned before mkdir was called and none that was issued after it returned.
TEST_P(CutTest, HoldsAPrefixOfEachWriter) {
  constexpr int kWriters = 4;
  constexpr std::size_t kPages = 4096;
  create_image(kWriters * kPages * kPage);
  mount(GetParam());
  std::array<std::atomic<std::size_t>, kWriters> issued{};
  std::array<std::atomic<std::size_t>, kWriters> returned{};
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      const bool direct = w % 2 == 1;
      const Fd fd(::open(current().c_str(), O_WRONLY | (direct ? O_DIRECT : 0)));
      std::unique_ptr<char, decltype(&std::free)> page(static_cast<char*>(std::aligned_alloc(kPage, kPage)),
                                                       &std::free);
      std::memset(page.get(), 'p', kPage);
      for (std::size_t i = 0; i < kPages && !stop; ++i) {
        issued[static_cast<std::size_t>(w)] = i + 1;
        const auto offset = (static_cast<std::size_t>(w) * kPages + i) * kPage;
        if (::pwrite(fd.get(), page.get(), kPage, static_cast<off_t>(offset)) != static_cast<ssize_t>(kPage))
          ++failures;
        returned[static_cast<std::size_t>(w)] = i + 1;
        if (!direct) ::usleep(50);
      }
    });
  }
  struct Bounds {
    std::size_t least, most;
  };
  std::vector<std::array<Bounds, kWriters>> cuts;
  for (int s = 0; s < 12; ++s) {
    ::usleep(5000);
    std::array<Bounds, kWriters> bounds{};
    for (std::size_t w = 0; w < kWriters; ++w) bounds[w].least = returned[w];
    const int error = ::mkdir(snapshot("s" + std::to_string(s)).c_str(), 0755);
    for (std::size_t w = 0; w < kWriters; ++w) bounds[w].most = issued[w];
    EXPECT_EQ(error, 0) << strerror(errno);
    cuts.push_back(bounds);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  for (std::size_t s = 0; s < cuts.size(); ++s) {
    const Fd fd(::open(disk("s" + std::to_string(s)).c_str(), O_RDONLY));
    for (std::size_t w = 0; w < kWriters; ++w) {
      std::string region(kPages * kPage, '\0');
      ASSERT_EQ(::pread(fd.get(), region.data(), region.size(), static_cast<off_t>(w * kPages * kPage)),
                static_cast<ssize_t>(region.size()));
      std::size_t prefix = 0;
      while (prefix < kPages && region[prefix * kPage] == 'p') ++prefix;
      EXPECT_GE(prefix, cuts[s][w].least) << "snapshot " << s << " writer " << w;
      EXPECT_LE(prefix, cuts[s][w].most) << "snapshot " << s << " writer " << w;
      EXPECT_EQ(region.find_first_not_of('p'), prefix == kPages ? std::string::npos : prefix * kPage);
      EXPECT_EQ(region.find('p', prefix * kPage), std::string::npos) << "snapshot " << s << " writer " << w;
    }
  }
}

// Snapshots, goto's refusals, emptying opens and I/O from many threads at once: more of each than the daemon has
// threads.
TEST_P(CutTest, NothingHangsWhenEverythingHappensAtOnce) {
  mount(GetParam());
  take("base");
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 12; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; !stop; ++i) {
        const Fd fd(::open(current().c_str(), t % 4 == 0 ? O_RDWR | O_TRUNC : O_RDWR));
        if (fd.get() < 0) continue;
        auto* map = static_cast<char*>(::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
        if (map == MAP_FAILED) continue;
        // Only offsets that exist at every moment may be touched: the emptied file is short until the kernel asks.
        if (t % 4 == 1)
          (void)!::pwrite(fd.get(), "write", 5, static_cast<off_t>(kMiB + static_cast<unsigned>(i % 512) * 4096U));
        if (t % 4 == 2) (void)!::fsync(fd.get());
        if (t % 4 == 3) (void)!::rename(snapshot("base").c_str(), snapshot("current-state").c_str());
        ::munmap(map, kMiB);
      }
    });
  }
  for (int s = 0; s < 40; ++s) {
    take("s" + std::to_string(s));
    if (s % 2 == 1) {
      EXPECT_OK(::rmdir(snapshot("s" + std::to_string(s)).c_str()));
    }
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  // The daemon itself may still be telling the kernel the size of a disk that was emptied.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
}

INSTANTIATE_TEST_SUITE_P(WithoutAndWithWritebackCache, CutTest, ::testing::Values("", "-o writeback_cache"),
                         [](const auto& mode) { return std::string(mode.index == 0 ? "WriteThrough" : "Writeback"); });

}  // namespace
}  // namespace fvd::test
