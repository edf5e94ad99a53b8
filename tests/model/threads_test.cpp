// Readers, writers, flushes, discards and snapshot operations all at once. Meant for ThreadSanitizer; without it, the
// test is that a snapshot taken under concurrent writers holds a prefix of each writer's sequence.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kWriters = 4;
constexpr std::uint64_t kSlots = 64;         // sectors of one writer, spread over its own chunks
constexpr std::uint64_t kStride = 3 * 4096;  // between them
constexpr std::uint64_t kRegion = 16 * kSmallChunk;
constexpr std::uint64_t kSize = (kWriters + 1) * kRegion;

// Writes n = 1, 2, 3, ...; number n goes to slot n % kSlots as a sector full of n.
std::uint64_t slot_offset(std::uint64_t writer, std::uint64_t slot) { return writer * kRegion + slot * kStride; }

Bytes sector_of(std::uint64_t number) {
  Bytes bytes(kSectorSize);
  for (std::size_t i = 0; i < kSectorSize; i += 8) std::memcpy(bytes.data() + i, &number, 8);
  return bytes;
}

// The last number of a writer's sequence that `state` holds, after checking that it holds exactly all up to there.
std::uint64_t check_prefix(StateReader& state, std::uint64_t writer) {
  std::vector<std::uint64_t> seen(kSlots);
  std::uint64_t last = 0;
  for (std::uint64_t slot = 0; slot < kSlots; ++slot) {
    const Bytes bytes = read_range(state, slot_offset(writer, slot), kSectorSize);
    if (bytes.empty()) return 0;
    std::memcpy(&seen[slot], bytes.data(), 8);
    EXPECT_EQ(difference(sector_of(seen[slot]), bytes), "") << "torn sector of writer " << writer;
    last = std::max(last, seen[slot]);
  }
  for (std::uint64_t slot = 0; slot < kSlots; ++slot) {
    std::uint64_t wanted = last / kSlots * kSlots + slot;
    if (wanted > last) wanted = wanted >= kSlots ? wanted - kSlots : 0;
    EXPECT_EQ(seen[slot], wanted) << "writer " << writer << " had got to " << last << ", slot " << slot;
  }
  return last;
}

class Crowd {
 public:
  explicit Crowd(Image& image) : image_(image) {}
  ~Crowd() { stop(); }
  void add(std::function<void(std::mt19937_64&)> turn) {
    threads_.emplace_back([this, turn = std::move(turn), seed = threads_.size()] {
      std::mt19937_64 random(seed);
      while (!stopped_) turn(random);
    });
  }
  void add_writers() {
    for (std::uint64_t writer = 0; writer < kWriters; ++writer) {
      add([this, writer](std::mt19937_64&) {
        const std::uint64_t number = returned_[writer] + 1;
        write_all(image_, slot_offset(writer, number % kSlots), sector_of(number));
        returned_[writer] = number;
      });
    }
  }
  void stop() {
    stopped_ = true;
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }
  [[nodiscard]] std::uint64_t returned(std::uint64_t writer) const { return returned_[writer]; }

 private:
  Image& image_;
  std::atomic<bool> stopped_ = false;
  std::array<std::atomic<std::uint64_t>, kWriters> returned_{};
  std::vector<std::thread> threads_;
};

OpenOptions busy() {
  OpenOptions options;
  options.commit_interval = std::chrono::milliseconds(2);
  options.completion_idle = std::chrono::milliseconds(1);
  return options;
}

void scribble(Image& image, std::mt19937_64& random) {
  const std::uint64_t base = kWriters * kRegion;  // the region that no counting writer uses
  const std::uint64_t offset = base + random() % kRegion;
  switch (random() % 4) {
    case 0:
      EXPECT_OK(image.discard(offset, random() % 100000));
      break;
    case 1:
      EXPECT_OK(image.flush());
      break;
    case 2: {
      const auto id = image.current_parent();
      const auto copied = image.copy_range(id, base, base + random() % 8 * kSmallChunk + kRegion / 2, kSmallChunk);
      EXPECT_TRUE(copied.is_ok() || copied.code() == Code::kNotFound) << copied.status().message();
      break;
    }
    default:
      EXPECT_OK(image.write(offset, pattern(1 + random() % 9000, random())));
  }
}

// A copy_range() in flight from the snapshot is a reader of it.
void remove_when_idle(Image& image, const std::string& name) {
  Status status = image.snapshot_delete(name);
  for (int i = 0; i < 100000 && status.code() == Code::kBusy; ++i) {
    std::this_thread::yield();
    status = image.snapshot_delete(name);
  }
  EXPECT_OK(status);
}

// What to add to the disk in this round: nothing to some thousand chunks, so that the lookup table moves.
std::uint64_t random_size(std::uint64_t round) { return round * 7919 % 5000 * kSmallChunk; }

TEST(Threads, FlatteningUnderWritersLosesNothing) {
  TemporaryDirectory directory;
  CreateOptions options = small_chunks(kSize);
  options.base_path = directory.file("base");
  // What no counting writer writes must show until the end; their sectors begin as zeros.
  Bytes base = pattern(kSize, 3);
  for (std::uint64_t w = 0; w < kWriters; ++w) {
    for (std::uint64_t slot = 0; slot < kSlots; ++slot) {
      std::fill_n(base.begin() + static_cast<std::ptrdiff_t>(slot_offset(w, slot)), kSectorSize, std::byte{0});
    }
  }
  std::ofstream(options.base_path, std::ios::binary)
      .write(reinterpret_cast<const char*>(base.data()), static_cast<std::streamsize>(base.size()));
  const auto show_the_base = [&base](StateReader& state) {
    for (std::uint64_t w = 0; w < kWriters; ++w) {
      for (std::uint64_t slot = 0; slot < kSlots; ++slot) {
        const std::uint64_t at = slot_offset(w, slot) + kSectorSize;
        const auto from = base.begin() + static_cast<std::ptrdiff_t>(at);
        ASSERT_EQ(difference(Bytes(from, from + 8192), read_range(state, at, 8192)), "") << at;
      }
    }
  };
  for (std::uint64_t round = 0; round < environment("FVD_TEST_ROUNDS", 4); ++round) {
    const auto disk = make_disk(options);
    const auto image = open_disk(*disk, busy());
    take(*image, "s0");
    Crowd crowd(*image);
    crowd.add_writers();
    for (int i = 0; i < 2; ++i) crowd.add([&](std::mt19937_64& random) { scribble(*image, random); });
    while (crowd.returned(0) < kSlots / 2) std::this_thread::yield();
    const SnapshotId s1 = take(*image, "s1");
    std::array<std::uint64_t, kWriters> held{};
    for (std::uint64_t w = 0; w < kWriters; ++w) held[w] = check_prefix(**image->open_snapshot(s1), w);
    Status status = image->flatten();
    for (int i = 0; i < 100000 && status.code() == Code::kBusy; ++i) {
      std::this_thread::yield();
      status = image->flatten();
    }
    ASSERT_OK(status);
    const std::uint64_t flattened = crowd.returned(0);
    while (crowd.returned(0) < flattened + 10) std::this_thread::yield();
    crowd.stop();
    for (int again = 0; again < 2; ++again) {
      const auto reopened = again == 0 ? nullptr : open_disk(*disk);
      Image& one = again == 0 ? *image : *reopened;
      for (std::uint64_t w = 0; w < kWriters; ++w) {
        EXPECT_EQ(check_prefix(one, w), crowd.returned(w));
        EXPECT_EQ(check_prefix(**one.open_snapshot(s1), w), held[w]);
      }
      show_the_base(one);
      show_the_base(**one.open_snapshot(s1));
      EXPECT_EQ(difference(base, read_snapshot(one, "s0")), "");
      ASSERT_OK(one.close());
    }
    expect_sound(*disk);
  }
}

TEST(Threads, ASnapshotHoldsAPrefixOfEachWriter) {
  const auto disk = make_disk(small_chunks(kSize));
  const auto image = open_disk(*disk, busy());
  Crowd crowd(*image);
  crowd.add_writers();
  for (int i = 0; i < 2; ++i) crowd.add([&](std::mt19937_64& random) { scribble(*image, random); });
  crowd.add([&](std::mt19937_64& random) {
    Bytes bytes(1 + random() % 100000);
    EXPECT_OK(image->read(random() % kSize, bytes));
    const auto extent = image->extent(random() % kSize);
    EXPECT_OK(extent);
  });
  crowd.add([&](std::mt19937_64&) {
    EXPECT_FALSE(image->metrics().empty());
    EXPECT_EQ(image->info().error, "");
    (void)image->snapshots();
    std::this_thread::yield();
  });
  const std::uint64_t rounds = environment("FVD_TEST_ROUNDS", 60);
  std::vector<std::pair<SnapshotId, std::array<std::uint64_t, kWriters>>> taken;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    std::array<std::uint64_t, kWriters> before{};
    for (std::uint64_t w = 0; w < kWriters; ++w) before[w] = crowd.returned(w);
    const SnapshotId id = take(*image, "s" + std::to_string(round));
    std::array<std::uint64_t, kWriters> held{};
    {
      const auto reader = image->open_snapshot(id);
      ASSERT_OK(reader);
      for (std::uint64_t w = 0; w < kWriters; ++w) {
        held[w] = check_prefix(**reader, w);
        EXPECT_GE(held[w], before[w]) << "a write that had returned is missing";
        EXPECT_LE(held[w], crowd.returned(w) + 1);
      }
    }
    taken.emplace_back(id, held);
    if (round % 4 == 1) EXPECT_OK(image->resize(kSize + random_size(round), true));
    if (round % 5 == 2) EXPECT_OK(image->compact());
    if (round % 3 == 2) {
      const auto victim = static_cast<std::ptrdiff_t>(round / 3 % taken.size());
      remove_when_idle(*image, image->find_snapshot(taken[static_cast<std::size_t>(victim)].first)->name);
      taken.erase(taken.begin() + victim);
    }
    if (::testing::Test::HasFailure()) break;
  }
  crowd.stop();
  const auto check_all = [&taken](Image& one) {
    for (const auto& [id, held] : taken) {
      const auto reader = one.open_snapshot(id);
      ASSERT_OK(reader);
      for (std::uint64_t w = 0; w < kWriters; ++w) EXPECT_EQ(check_prefix(**reader, w), held[w]);
    }
  };
  check_all(*image);
  for (std::uint64_t w = 0; w < kWriters; ++w) EXPECT_EQ(check_prefix(*image, w), crowd.returned(w));
  // The power goes now: everything that the snapshots hold is there.
  const auto survivor = disk->reboot(0);
  expect_sound(*survivor);
  check_all(*open_disk(*survivor));
  ASSERT_OK(image->close());
  expect_sound(*disk);
}

TEST(Threads, GotoUnderReadersAndWriters) {
  const auto disk = make_disk(small_chunks(kSize));
  const auto image = open_disk(*disk, busy());
  write_all(*image, 0, pattern(kSize, 1));
  take(*image, "one");
  write_all(*image, 0, pattern(kSize, 2));
  take(*image, "two");
  {
    Crowd crowd(*image);
    for (int i = 0; i < 2; ++i) crowd.add([&](std::mt19937_64& random) { scribble(*image, random); });
    for (int i = 0; i < 2; ++i) {
      crowd.add([&](std::mt19937_64& random) {
        const std::uint64_t offset = random() % (kSize - kSmallChunk);
        Bytes bytes(kSmallChunk);
        EXPECT_OK(image->read(offset, bytes));
      });
    }
    for (std::uint64_t round = 0; round < environment("FVD_TEST_ROUNDS", 60); ++round) {
      ASSERT_OK(image->snapshot_goto(round % 2 == 0 ? "one" : "two"));
      if (round % 5 == 0) {
        take(*image, "extra");
        remove_when_idle(*image, "extra");
      }
    }
  }
  EXPECT_EQ(difference(pattern(kSize, 1), read_snapshot(*image, "one")), "");
  EXPECT_EQ(difference(pattern(kSize, 2), read_snapshot(*image, "two")), "");
  ASSERT_OK(image->snapshot_goto("one"));
  EXPECT_EQ(difference(pattern(kSize, 1), read_all(*image)), "");
  ASSERT_OK(image->close());
  expect_sound(*disk);
}

// What flush() promised, across power cuts in the middle of everything.
TEST(Threads, FlushedNumbersSurviveAPowerCutUnderLoad) {
  for (std::uint64_t round = 0; round < environment("FVD_TEST_ROUNDS", 20); ++round) {
    const auto disk = make_disk(small_chunks(kSize));
    auto image = open_disk(*disk, busy());
    std::array<std::atomic<std::uint64_t>, kWriters> flushed{};
    std::vector<std::thread> threads;
    disk->arm({.kind = Fault::Kind::kCut, .at = 200 + round * 37});
    for (std::uint64_t writer = 0; writer < kWriters; ++writer) {
      threads.emplace_back([&, writer] {
        for (std::uint64_t number = 1;; ++number) {
          if (!image->write(slot_offset(writer, number % kSlots), sector_of(number)).is_ok()) return;
          if (number % 5 != 0) continue;
          if (!image->flush().is_ok()) return;
          flushed[writer] = number;
        }
      });
    }
    threads.emplace_back([&] {
      for (int i = 0; !disk->is_cut(); ++i) {
        if (!image->snapshot_create("s" + std::to_string(i)).is_ok()) return;
        if (i > 3 && !image->snapshot_delete("s" + std::to_string(i - 3)).is_ok()) return;
      }
    });
    for (auto& thread : threads) thread.join();
    image.reset();
    for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, round + 10}) {
      const auto survivor = disk->reboot(seed);
      expect_sound(*survivor);
      const auto again = open_disk(*survivor);
      ASSERT_NE(again, nullptr);
      for (std::uint64_t writer = 0; writer < kWriters; ++writer) {
        // Each slot holds the last flushed number of its own or a later one.
        for (std::uint64_t slot = 0; slot < kSlots; ++slot) {
          const std::uint64_t last = flushed[writer];
          std::uint64_t wanted = last / kSlots * kSlots + slot;
          if (wanted > last) wanted = wanted >= kSlots ? wanted - kSlots : 0;
          std::uint64_t number = 0;
          const Bytes bytes = read_range(*again, slot_offset(writer, slot), kSectorSize);
          ASSERT_EQ(bytes.size(), kSectorSize);
          std::memcpy(&number, bytes.data(), 8);
          EXPECT_EQ(difference(sector_of(number), bytes), "");
          EXPECT_GE(number, wanted) << "writer " << writer << " slot " << slot << " flushed " << last;
        }
      }
      for (const auto& one : again->snapshots()) {
        const auto reader = again->open_snapshot(one.id);
        ASSERT_OK(reader);
        for (std::uint64_t writer = 0; writer < kWriters; ++writer) check_prefix(**reader, writer);
      }
    }
    if (::testing::Test::HasFailure()) FAIL() << "round " << round;
  }
}

}  // namespace
}  // namespace fvd::test
