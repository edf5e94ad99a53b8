// Writers that change more while a table is written than the journal holds: flushes and snapshots succeed all the same.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "support/image_rig.h"
#include "support/memory_file.h"

namespace fvd::test {
namespace {

// A disk whose syncs take long enough for the writers to change everything.
class SlowSyncFile final : public MemoryFile {
 public:
  Status sync() override {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    return Status::ok();
  }
};

constexpr std::uint64_t kChunks = 512;

// Writers, and one that flushes, while `work` runs on an image that they overtake.
template <typename Work>
void beside_writers(CreateOptions options, Work&& work) {
  options.journal_half_size = 8192;  // fewer records than there are chunks
  auto file = std::make_unique<SlowSyncFile>();
  ASSERT_OK(Image::create_on(*file, options));
  auto opened = Image::open_on(std::move(file), quiet());
  ASSERT_OK(opened);
  Image& image = **opened;
  std::atomic<bool> stop = false;
  std::vector<std::thread> writers;
  for (std::uint64_t seed = 0; seed < 2; ++seed) {
    writers.emplace_back([&, seed] {
      std::mt19937_64 random(seed);
      const Bytes data = pattern(512, seed);
      while (!stop) {
        // Nearly each is the first write of its block since a snapshot, and so a change of the mapping.
        EXPECT_OK(image.write(random() % (kChunks * kSmallChunk / 512) * 512, data));
      }
    });
  }
  // Commits beside a switch must not make what its table holds look changed anew.
  writers.emplace_back([&] {
    while (!stop) EXPECT_OK(image.flush());
  });
  work(image);
  stop = true;
  for (std::thread& writer : writers) writer.join();
  EXPECT_OK(image.close());
}

TEST(Overtaken, FlushesAndSnapshotsGoThrough) {
  beside_writers(small_chunks(kChunks * kSmallChunk, 512), [](Image& image) {
    for (int round = 0; round < 4; ++round) {
      EXPECT_OK(image.flush());
      EXPECT_OK(image.snapshot_create("s" + std::to_string(round)));
      EXPECT_OK(image.flush());
    }
  });
}

TEST(Overtaken, FlatteningGoesThrough) {
  const TemporaryDirectory directory;
  CreateOptions options = small_chunks(kChunks * kSmallChunk, 512);
  options.base_path = directory.file("base.raw");
  std::ofstream(options.base_path, std::ios::binary).write("base", 4);
  std::filesystem::resize_file(options.base_path, kChunks * kSmallChunk);
  beside_writers(options, [](Image& image) {
    EXPECT_OK(image.snapshot_create("s"));
    EXPECT_OK(image.flatten());
    EXPECT_EQ(image.info().base_path, "");
    EXPECT_EQ(read_snapshot(image, "s").size(), kChunks * kSmallChunk);
  });
}

}  // namespace
}  // namespace fvd::test
