// A table captured while it changes is the one of the cut, byte for byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "map/front.h"
#include "snapshot/table_capture.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

using format::kPartialFlag;

constexpr std::uint32_t kChunks = 1000000;  // physical ones

class SnapshotTableCapture : public ::testing::TestWithParam<std::uint32_t> {
 protected:
  SnapshotTableCapture() { EXPECT_OK(front_.table.resize(entries())); }

  static std::uint32_t entries() { return GetParam(); }
  [[nodiscard]] std::uint64_t size() const { return std::uint64_t{entries()} << geometry_.chunk_log2; }

  // As a request changes the mapping: published under the stripe, then marked.
  void change(std::uint32_t v, std::mt19937_64& random) {
    Front::Stripe& stripe = front_.stripe(v);
    const std::lock_guard lock(stripe.mutex);
    stripe.partials.erase(v);
    const auto chunk = static_cast<std::uint32_t>(random() % kChunks + 1);
    switch (random() % 4) {
      case 0:
        front_.table.store(v, format::kEmpty);
        break;
      case 1:
        front_.table.store(v, format::kZero);
        break;
      case 2:
        front_.table.store(v, chunk);
        break;
      default: {
        front_.table.store(v, chunk | kPartialFlag);
        const PartialMap::Entry partial = stripe.partials.insert(v, static_cast<std::uint32_t>(random() % kChunks));
        for (std::uint64_t& word : partial.words) word = random() & random();
        partial.words[0] &= ~std::uint64_t{1};
        partial.set_origin_owned(random() % 2 == 0);
      }
    }
    front_.changes.mark(v);
  }
  void change_some(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) change(static_cast<std::uint32_t>(random_() % entries()), random_);
  }
  void empty_all() {
    for (std::uint32_t v = 0; v < entries(); ++v) {
      front_.stripe(v).partials.erase(v);
      front_.table.store(v, format::kEmpty);
      front_.changes.mark(v);
    }
  }

  // The object of the table as it stands. REQUIRES that no capture is being prepared.
  std::vector<std::byte> object_now(std::uint32_t* mapped) {
    TableCapture capture(geometry_);
    capture.prepare(front_);
    capture.take(front_, false);
    capture.finish(size());
    *mapped = capture.mapped();
    return {capture.object().begin(), capture.object().end()};
  }

  // Captures what stands when `prepare` is over, which changes things after the copy began; then they change again.
  template <typename Prepare>
  void capture(const Prepare& prepare) {
    TableCapture capture(geometry_);
    prepare(capture);
    capture.take(front_, false);
    std::uint32_t mapped = 0;
    const std::vector<std::byte> expected = object_now(&mapped);
    change_some(100);
    capture.finish(size());
    EXPECT_TRUE(std::ranges::equal(capture.object(), expected));
    EXPECT_EQ(capture.mapped(), mapped);
    const format::ObjectRef ref{1, capture.crc(), capture.object().size()};
    EXPECT_OK(format::TableView::parse(capture.object(), ref, geometry_, kChunks).status());
    front_.changes.end_capture();
  }

  const format::Geometry geometry_{.chunk_log2 = 16, .block_log2 = 9, .data_offset = 0};
  Front front_{geometry_};
  std::mt19937_64 random_{entries()};
};

TEST_P(SnapshotTableCapture, HasWhatChangedWhileItWasCopied) {
  for (const std::size_t before : {0U, 10U, 3000U}) {
    for (const std::size_t meanwhile : {0U, 1U, 50U, 40000U}) {
      SCOPED_TRACE(std::to_string(before) + " before, " + std::to_string(meanwhile) + " meanwhile");
      empty_all();
      change_some(before);
      capture([&](TableCapture& one) {
        one.prepare(front_);
        change_some(meanwhile);
      });
    }
  }
}

TEST_P(SnapshotTableCapture, StoresNoGroupThatWasEmptiedMeanwhile) {
  change_some(5000);
  capture([&](TableCapture& one) {
    one.prepare(front_);
    empty_all();
    change_some(3);
  });
  TableCapture one(geometry_);
  one.prepare(front_);
  empty_all();
  one.take(front_, false);
  one.finish(size());
  EXPECT_TRUE(one.empty());
  EXPECT_EQ(one.mapped(), 0U);
}

TEST_P(SnapshotTableCapture, IsCopiedBesideRequests) {
  for (int round = 0; round < 5; ++round) {
    change_some(2000);
    capture([&](TableCapture& one) {
      std::atomic<bool> stop = false;
      std::vector<std::thread> threads;
      for (std::uint64_t seed = 0; seed < 2; ++seed) {
        threads.emplace_back([&, seed] {
          std::mt19937_64 random(seed * 1000 + static_cast<std::uint64_t>(round));
          while (!stop) change(static_cast<std::uint32_t>(random() % entries()), random);
        });
      }
      one.prepare(front_);
      stop = true;
      for (std::thread& thread : threads) thread.join();
    });
  }
}

TEST_P(SnapshotTableCapture, SharesEveryChunkFromTheCutOn) {
  change_some(5000);
  TableCapture one(geometry_);
  one.prepare(front_);
  change_some(200);
  one.take(front_, true);
  for (std::uint32_t v = 0; v < entries(); ++v) {
    ASSERT_FALSE(is_own(front_.table.load(v)));
    const PartialMap::Entry partial = front_.stripe(v).partials.find(v);
    ASSERT_FALSE(partial && partial.origin_owned());
  }
  front_.changes.end_capture();
  // That an entry is shared is known in memory only.
  capture([&](TableCapture& next) {
    next.prepare(front_);
    for (std::uint32_t v = 0; v < std::min(entries(), 50U); ++v) front_.changes.mark(v);
  });
  front_.table.store(0, 17);
  EXPECT_TRUE(is_own(front_.table.load(0)));
}

INSTANTIATE_TEST_SUITE_P(Entries, SnapshotTableCapture, ::testing::Values(1U, 15U, 1000U, 60000U));

}  // namespace
}  // namespace fvd::test
