// Power cuts and kills while threads write, flush and take snapshots: what the sequential scenarios cannot interleave.
// FVD_TEST_SEED is the first seed, FVD_TEST_ROUNDS the number of disks.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <iostream>
#include <map>
#include <random>
#include <thread>

#include "support/image_rig.h"
#include "support/verdict.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kChunks = 6;          // that the writers share
constexpr std::uint64_t kBlocksOfWriter = 3;  // in each of them
constexpr std::size_t kWriters = 3;
constexpr std::size_t kBlocks = kChunks * kBlocksOfWriter * kWriters;
using Values = std::array<std::uint64_t, kBlocks>;

std::uint64_t offset_of(std::size_t block) { return block % kChunks * kSmallChunk + block / kChunks * kBlock; }

// Every sector of a block holds the number of the write; a writer's numbers grow.
Bytes content_of(std::uint64_t number, std::uint64_t length = kBlock) {
  Bytes bytes(length);
  for (std::uint64_t at = 0; at < length; at += 8) std::memcpy(bytes.data() + at, &number, 8);
  return bytes;
}

// Writers, and what they know of each block.
class Writers {
 public:
  Writers(Image& image, std::uint64_t seed) : image_(image), seed_(seed) {}
  ~Writers() { stop(); }
  Writers(const Writers&) = delete;
  Writers& operator=(const Writers&) = delete;

  void start() {
    for (std::size_t w = 0; w < kWriters; ++w) threads_.emplace_back([this, w] { write(w); });
    threads_.emplace_back([this] {
      while (!stop_ && image_.flush()) std::this_thread::yield();
    });
  }
  void stop() {
    stop_ = true;
    for (std::thread& one : threads_) one.join();
    threads_.clear();
  }
  [[nodiscard]] Values begun() const { return copy(begun_); }
  [[nodiscard]] Values returned() const { return copy(returned_); }
  [[nodiscard]] Values synced() const { return copy(synced_); }

 private:
  using Counters = std::array<std::atomic<std::uint64_t>, kBlocks>;
  static Values copy(const Counters& from) {
    Values values;
    for (std::size_t i = 0; i < kBlocks; ++i) values[i] = from[i].load();
    return values;
  }

  void write(std::size_t writer) {
    std::mt19937_64 random(seed_ * 8 + writer);
    std::map<std::size_t, std::uint64_t> unsynced;
    for (std::uint64_t number = 1; !stop_; ++number) {
      const std::size_t block = random() % (kChunks * kBlocksOfWriter) + writer * kChunks * kBlocksOfWriter;
      begun_[block] = number;
      const bool whole = random() % 4 != 0;  // else in two pieces, neither of them a whole block
      const std::uint64_t first = whole ? kBlock : kSector * (1 + random() % 7);
      if (!image_.write(offset_of(block), content_of(number, first))) return;
      if (!whole && !image_.write(offset_of(block) + first, content_of(number, kBlock - first))) return;
      returned_[block] = number;
      unsynced[block] = number;
      if (random() % 4 == 0) continue;
      if (!image_.flush()) return;
      for (const auto& [one, last] : unsynced) synced_[one] = last;
      unsynced.clear();
    }
  }

  Image& image_;
  const std::uint64_t seed_;
  std::atomic<bool> stop_ = false;
  Counters begun_{}, returned_{}, synced_{};
  std::vector<std::thread> threads_;
};

struct Bounds {
  Values least{};
  Values most{};
};

Verdict judge(StateReader& state, const Bounds& bounds) {
  Bytes bytes(kBlock);
  for (std::size_t block = 0; block < kBlocks; ++block) {
    const auto read = state.read(offset_of(block), bytes);
    if (!read) return "cannot be read: " + read.status().message();
    for (std::uint64_t at = 0; at < kBlock; at += kSector) {
      std::uint64_t number = 0;
      std::memcpy(&number, bytes.data() + at, 8);
      for (std::uint64_t i = 0; i < kSector; i += 8) {
        if (std::memcmp(bytes.data() + at, bytes.data() + at + i, 8) != 0) return "a sector is torn";
      }
      if (number < bounds.least[block] || number > bounds.most[block]) {
        return "block " + std::to_string(block) + " holds write " + std::to_string(number) + ", not one of " +
               std::to_string(bounds.least[block]) + " to " + std::to_string(bounds.most[block]);
      }
    }
  }
  return {};
}

struct Expected {
  Bounds current;
  std::map<std::string, Bounds> snapshots;  // that must be there
  std::map<std::string, Bounds> maybe;      // being taken or deleted when the power went
};

Verdict judge(Image& image, const Expected& expected) {
  if (Verdict verdict = judge(static_cast<StateReader&>(image), expected.current); !verdict.empty()) {
    return "current-state: " + verdict;
  }
  for (const auto& [name, bounds] : expected.snapshots) {
    if (!image.find_snapshot(name)) return "snapshot " + name + " is gone";
  }
  for (const SnapshotInfo& one : image.snapshots()) {
    const bool certain = expected.snapshots.contains(one.name);
    if (!certain && !expected.maybe.contains(one.name)) return "there is a snapshot " + one.name;
    const auto state = image.open_snapshot(one.id);
    if (!state) return one.name + ": " + state.status().message();
    const Bounds& bounds = (certain ? expected.snapshots : expected.maybe).at(one.name);
    if (Verdict verdict = judge(**state, bounds); !verdict.empty()) return "snapshot " + one.name + ": " + verdict;
  }
  return {};
}

Verdict inspect(CrashDisk& disk, const Expected& expected) {
  if (const auto findings = check_findings(*disk.open()); !findings.empty()) return "check: " + findings;
  for (const bool read_only : {true, false}) {
    OpenOptions options = quiet();
    options.read_only = read_only;
    auto image = Image::open_on(disk.open(), options);
    if (!image) return "opening failed: " + image.status().message();
    if (Verdict verdict = judge(**image, expected); !verdict.empty()) {
      return (read_only ? "read-only: " : "recovered: ") + verdict;
    }
    if (const Status closed = (*image)->close(); !closed) return "closing failed: " + closed.message();
  }
  const auto findings = check_findings(*disk.open());
  return findings.empty() ? findings : "check after closing: " + findings;
}

// Snapshots beside the writers until the power goes.
void take_snapshots(Image& image, const Writers& writers, std::uint64_t seed, Expected* expected) {
  std::mt19937_64 random(seed);
  for (int number = 0;; ++number) {
    const std::string name = "s" + std::to_string(number);
    expected->maybe[name] = {writers.returned(), {}};
    expected->maybe[name].most.fill(UINT64_MAX);
    const auto taken = image.snapshot_create(name, "");
    if (taken) expected->snapshots[name] = {expected->maybe[name].least, writers.begun()};
    if (!taken && taken.code() != Code::kNoSpace) return;
    expected->maybe.erase(name);
    if (random() % 3 == 0) {
      // Something that leaves freed chunks, to be used again.
      if (!image.discard((kChunks + random() % 2) * kSmallChunk, kSmallChunk)) return;
      if (!image.write((kChunks + random() % 2) * kSmallChunk + 512, content_of(7))) return;
    }
    if (expected->snapshots.size() > 2) {
      const std::string oldest = expected->snapshots.begin()->first;
      expected->maybe.insert(expected->snapshots.extract(oldest));
      if (!image.snapshot_delete(oldest)) return;
      expected->maybe.erase(oldest);
    }
    if (random() % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
  }
}

void run_round(std::uint64_t seed, std::uint64_t* journaled) {
  std::mt19937_64 random(seed);
  CreateOptions options = small_chunks(12 * kSmallChunk);
  options.journal_half_size = random() % 2 == 0 ? 128 * kKiB : 512 * kKiB;
  const auto disk = make_disk(options);
  OpenOptions open_options = quiet();
  if (random() % 2 == 0) open_options.commit_interval = std::chrono::milliseconds(5);
  Expected expected;
  {
    auto image = open_disk(*disk, open_options);
    ASSERT_NE(image, nullptr);
    if (random() % 2 == 0) {
      write_all(*image, 0, Bytes(2 * kSmallChunk));
      take(*image, "base");
      expected.snapshots["base"] = {};
    }
    disk->set_hook([&, n = std::make_shared<std::atomic<std::uint64_t>>(seed)](DiskOperation operation) {
      const std::uint64_t draw = n->fetch_add(0x9E3779B97F4A7C15ULL) >> 33;
      const std::uint64_t most = operation == DiskOperation::kSynced ? 400 : 60;  // microseconds
      if (draw % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(draw / 4 % most));
    });
    Writers writers(*image, seed);
    disk->arm({.kind = Fault::Kind::kCut, .at = 20 + random() % 3000});
    writers.start();
    if (seed % 3 == 0) {
      while (!disk->is_cut()) std::this_thread::sleep_for(std::chrono::microseconds(200));
    } else {
      take_snapshots(*image, writers, seed, &expected);
    }
    writers.stop();
    expected.current = {writers.synced(), writers.begun()};
    *journaled += metric(*image, "fvd_journal_commits_total");
    disk->set_hook({});
    ASSERT_TRUE(disk->is_cut());
  }
  for (std::uint64_t survivor = 0; survivor < 6; ++survivor) {
    const auto after = disk->reboot(survivor < 4 ? survivor : seed * 16 + survivor);
    ASSERT_EQ(inspect(*after, expected), "") << "FVD_TEST_SEED=" << seed << ", outcome " << survivor;
  }
  const auto killed = disk->clone();
  ASSERT_EQ(inspect(*killed, expected), "") << "FVD_TEST_SEED=" << seed << ", killed";
}

TEST(CrashWriters, WhatWasSyncedIsThere) {
  const std::uint64_t first = environment("FVD_TEST_SEED", 1);
  const std::uint64_t rounds = environment("FVD_TEST_ROUNDS", 150);
  std::uint64_t journaled = 0;
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) {
    run_round(seed, &journaled);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(journaled, rounds);
  std::cout << "[     cuts ] " << rounds << " disks, " << journaled << " commits with their data in the journal\n";
}

}  // namespace
}  // namespace fvd::test
