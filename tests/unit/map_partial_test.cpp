// The table of partial chunks, the lookup table, the change set and the freeze gate.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <shared_mutex>
#include <thread>

#include "map/change_set.h"
#include "map/freeze_gate.h"
#include "map/lookup_table.h"
#include "map/partial_map.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

TEST(MapPartial, RandomInsertsAndErasesAgainstAMap) {
  for (const std::uint32_t words : {1U, 4U, 256U}) {
    std::mt19937_64 random(words);
    PartialMap map(words);
    std::map<std::uint32_t, std::uint32_t> model;
    for (int i = 0; i < 20000; ++i) {
      const auto key = static_cast<std::uint32_t>(random() % 500 * 64 + 5);  // as the keys of one stripe
      if (random() % 3 == 0) {
        map.erase(key);
        model.erase(key);
      } else if (!model.contains(key)) {
        const auto origin = static_cast<std::uint32_t>(random() % 100000);
        const PartialMap::Entry entry = map.insert(key, origin);
        ASSERT_EQ(entry.words.size(), words);
        for (const std::uint64_t word : entry.words) ASSERT_EQ(word, 0U);
        ASSERT_FALSE(entry.origin_owned());
        entry.words[words - 1] = origin;
        entry.set_origin_owned(origin % 2 == 0);
        model[key] = origin;
      }
      ASSERT_EQ(map.size(), model.size());
    }
    for (std::uint32_t key = 5; key < 500 * 64; key += 64) {
      const PartialMap::Entry entry = map.find(key);
      const auto it = model.find(key);
      ASSERT_EQ(static_cast<bool>(entry), it != model.end());
      if (it == model.end()) continue;
      ASSERT_EQ(*entry.origin, it->second);
      ASSERT_EQ(entry.words[words - 1], it->second);
      ASSERT_EQ(entry.origin_owned(), it->second % 2 == 0);
    }
    std::size_t visited = 0;
    map.for_each([&](std::uint32_t key, const PartialMap::Entry& entry) {
      ++visited;
      EXPECT_EQ(model.at(key), *entry.origin);
    });
    EXPECT_EQ(visited, model.size());
    map.disown_origins();
    map.for_each([&](std::uint32_t key, const PartialMap::Entry& entry) {
      EXPECT_FALSE(entry.origin_owned()) << key;
      entry.set_origin_owned(true);
      EXPECT_TRUE(entry.origin_owned()) << key;
    });
  }
}

TEST(MapLookupTable, GrowsWithEmptyEntriesAndForgetsWhatIsCutOff) {
  LookupTable table;
  ASSERT_OK(table.resize(3000));
  for (std::uint32_t v = 0; v < 3000; ++v) {
    ASSERT_EQ(table.load(v), 0U);
    table.store(v, v + 1);
  }
  ASSERT_OK(table.resize(1000));
  ASSERT_OK(table.resize(5000000));
  EXPECT_EQ(table.size(), 5000000U);
  for (std::uint32_t v = 0; v < 10000; ++v) ASSERT_EQ(table.load(v), v < 1000 ? v + 1 : 0) << v;
  EXPECT_EQ(table.load(4999999), 0U);
}

TEST(MapLookupTable, SharesAllUntilStoredAnew) {
  constexpr std::uint32_t kShared = format::kSharedFlag;
  LookupTable table;
  ASSERT_OK(table.resize(1000));
  table.store(0, 5);
  table.store(2, 3);
  table.store(63, format::kZero);
  table.store(64, 7 | format::kPartialFlag);
  table.store(999, 9 | kShared);
  table.share_all();
  EXPECT_EQ(table.load(0), 5 | kShared);
  EXPECT_EQ(table.load(1), format::kEmpty);
  EXPECT_EQ(table.load(63), format::kZero);
  EXPECT_EQ(table.load(64), 7 | format::kPartialFlag | kShared);
  EXPECT_EQ(table.load(999), 9 | kShared);
  EXPECT_EQ(table.load_unmarked(999), 9U);
  table.store(0, 5);
  table.store(1, 6);
  table.store(500, 8);  // in a group that nothing had been written to
  EXPECT_EQ(table.load(0), 5U);
  EXPECT_EQ(table.load(1), 6U);
  EXPECT_EQ(table.load(2), 3 | kShared);
  EXPECT_EQ(table.load(500), 8U);
  ASSERT_OK(table.resize(100000));
  EXPECT_EQ(table.load(0), 5U);
  EXPECT_EQ(table.load(64), 7 | format::kPartialFlag | kShared);
  EXPECT_EQ(table.load(999), 9 | kShared);
  ASSERT_OK(table.resize(10));
  ASSERT_OK(table.resize(1000));
  table.store(64, 3);
  EXPECT_EQ(table.load(64), 3U);
  LookupTable other;
  ASSERT_OK(other.resize(64));
  other.store(0, 4);
  other.share_all();
  table.swap(other);
  EXPECT_EQ(table.load(0), 4 | kShared);
  EXPECT_EQ(other.load(0), 5U);
}

// Who took the new entry for a shared one could share it with others, and it is written in place.
TEST(MapLookupTable, IsReadBesideAStoreAsBeforeOrAfterIt) {
  constexpr std::uint32_t kShared = format::kSharedFlag;
  constexpr std::uint32_t kEntries = 200000;
  LookupTable table;
  ASSERT_OK(table.resize(kEntries));
  for (std::uint32_t v = 0; v < kEntries; ++v) table.store(v, 1);
  for (std::uint32_t round = 2; round < 12; ++round) {
    table.share_all();
    std::atomic<std::uint32_t> at = 0;
    std::uint64_t wrong = 0;
    std::thread reader([&] {
      for (std::uint32_t v = 0; v < kEntries;) {
        const std::uint32_t seen = table.load(v);
        if (seen != ((round - 1) | kShared) && seen != round) ++wrong;
        v = std::max(v, at.load(std::memory_order_relaxed));
      }
    });
    for (std::uint32_t v = 0; v < kEntries; ++v) {
      at.store(v, std::memory_order_relaxed);
      table.store(v, round);
    }
    at = kEntries;
    reader.join();
    EXPECT_EQ(wrong, 0U);
  }
}

TEST(MapChangeSet, TakesEachChangeOnceAndKeepsThoseSinceTheCut) {
  ChangeSet changes;
  EXPECT_TRUE(changes.empty());
  changes.mark(7);
  changes.mark(7);
  changes.mark(3);
  EXPECT_EQ(changes.take(), (std::vector<std::uint32_t>{7, 3}));
  EXPECT_TRUE(changes.empty());
  changes.begin_capture();
  changes.mark(5);
  EXPECT_EQ(changes.cut(), (std::vector<std::uint32_t>{5}));
  changes.mark(7);
  changes.mark(9);
  EXPECT_EQ(changes.take(), (std::vector<std::uint32_t>{5, 7, 9}));
  changes.mark(9);
  EXPECT_EQ(changes.since_cut(), (std::vector<std::uint32_t>{7, 9}));
  changes.end_capture();
  EXPECT_TRUE(changes.since_cut().empty());
  changes.mark(9);
  EXPECT_TRUE(changes.since_cut().empty());
  EXPECT_EQ(changes.take(), (std::vector<std::uint32_t>{9}));
}

TEST(MapFreezeGate, NobodyIsInsideWhileItIsClosed) {
  FreezeGate gate;
  std::atomic<int> inside = 0;
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        const std::shared_lock in(gate);
        ++inside;
        --inside;
      }
    });
  }
  for (int i = 0; i < 2000; ++i) {
    const std::unique_lock closed(gate);
    ASSERT_EQ(inside, 0);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  gate.drain();
}

}  // namespace
}  // namespace fvd::test
