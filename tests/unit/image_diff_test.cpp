// The difference of two snapshots from metadata: against content, byte by byte, under random histories.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

// The runs of a difference, joined; every one checked for sense.
std::vector<StateDiff::Run> runs_of(Image& image, std::string_view a, std::string_view b) {
  std::vector<StateDiff::Run> runs;
  const auto diff = image.open_diff(image.find_snapshot(a)->id, image.find_snapshot(b)->id);
  EXPECT_OK(diff);
  if (!diff) return runs;
  for (std::uint64_t at = 0; at < (*diff)->size();) {
    const auto run = (*diff)->run(at);
    EXPECT_OK(run);
    if (!run) return runs;
    EXPECT_EQ(run->offset, at);
    EXPECT_GT(run->length, 0U);
    if (run->length == 0) return runs;
    at += run->length;
    EXPECT_LE(at, (*diff)->size());
    if (!runs.empty() && runs.back().differs == run->differs) {
      runs.back().length += run->length;
    } else {
      runs.push_back(*run);
    }
  }
  EXPECT_CODE(Code::kInvalid, (*diff)->run((*diff)->size()));
  return runs;
}

std::uint64_t differing(const std::vector<StateDiff::Run>& runs) {
  std::uint64_t sum = 0;
  for (const auto& run : runs) sum += run.differs ? run.length : 0;
  return sum;
}

// Where it says "equal", content is equal; and the other way round nothing is reported.
void expect_covers(Image& image, std::string_view a, std::string_view b) {
  Bytes left = read_snapshot(image, a);
  Bytes right = read_snapshot(image, b);
  left.resize(std::max(left.size(), right.size()));
  right.resize(left.size());
  const auto runs = runs_of(image, a, b);
  for (const auto& run : runs) {
    if (run.differs) continue;
    const auto at = static_cast<std::ptrdiff_t>(run.offset);
    EXPECT_TRUE(
        std::equal(left.begin() + at, left.begin() + at + static_cast<std::ptrdiff_t>(run.length), right.begin() + at))
        << a << " and " << b << " differ within " << run.offset << "+" << run.length;
  }
  EXPECT_EQ(differing(runs), differing(runs_of(image, b, a)));
}

TEST(ImageDiff, IsAsFineAsABlock) {
  const auto disk = make_disk(small_chunks(8 * kSmallChunk));
  const auto image = open_disk(*disk);
  write_all(*image, 0, pattern(3 * kSmallChunk, 1));
  take(*image, "a");
  write_all(*image, kSmallChunk + 5000, pattern(10, 2));
  ASSERT_OK(image->discard(2 * kSmallChunk, kSmallChunk));
  take(*image, "b");
  write_all(*image, kSmallChunk + 9000, pattern(10, 3));
  take(*image, "c");
  const auto first = runs_of(*image, "a", "b");
  ASSERT_EQ(first.size(), 5U);
  EXPECT_EQ(first[1].offset, kSmallChunk + 4096);
  EXPECT_EQ(first[1].length, 4096U);
  EXPECT_EQ(first[3].offset, 2 * kSmallChunk);
  EXPECT_EQ(first[3].length, kSmallChunk);
  EXPECT_EQ(differing(runs_of(*image, "a", "a")), 0U);
  EXPECT_EQ(differing(runs_of(*image, "a", "c")), 8192 + kSmallChunk);
  expect_covers(*image, "a", "c");
}

TEST(ImageDiff, EmptyAndDiscardedAreTheSameZeros) {
  const auto disk = make_disk(small_chunks(4 * kSmallChunk));
  const auto image = open_disk(*disk);
  take(*image, "a");
  write_all(*image, 0, pattern(kSmallChunk, 1));
  ASSERT_OK(image->discard(0, kSmallChunk));
  take(*image, "b");
  EXPECT_EQ(differing(runs_of(*image, "a", "b")), 0U);
  ASSERT_OK(image->resize(6 * kSmallChunk + 512, false));
  take(*image, "c");
  EXPECT_EQ(differing(runs_of(*image, "a", "c")), 0U) << "what only one of them has is zeros too";
}

TEST(ImageDiff, NeedsNoData) {
  const auto disk = make_disk(small_chunks(64 * kSmallChunk));
  const auto image = open_disk(*disk);
  write_all(*image, 0, pattern(32 * kSmallChunk, 1));
  take(*image, "a");
  write_all(*image, 4096, pattern(4096, 2));
  take(*image, "b");
  const std::uint64_t before = metric(*image, "fvd_read_bytes_total", "data");
  EXPECT_EQ(differing(runs_of(*image, "a", "b")), 4096U);
  EXPECT_EQ(metric(*image, "fvd_read_bytes_total", "data"), before);
}

TEST(ImageDiff, KeepsItsSnapshots) {
  const auto disk = make_disk(small_chunks(4 * kSmallChunk));
  const auto image = open_disk(*disk);
  const SnapshotId a = take(*image, "a");
  const SnapshotId b = take(*image, "b");
  {
    const auto diff = image->open_diff(a, b);
    ASSERT_OK(diff);
    EXPECT_CODE(Code::kBusy, image->snapshot_delete("a"));
    EXPECT_CODE(Code::kBusy, image->snapshot_delete("b"));
  }
  ASSERT_OK(image->snapshot_delete("a"));
  EXPECT_CODE(Code::kNotFound, image->open_diff(a, b));
  EXPECT_CODE(Code::kNotFound, image->open_diff(b, a));
}

TEST(ImageDiff, NeverMissesADifference) {
  const std::uint64_t first = environment("FVD_TEST_SEED", 1);
  const std::uint64_t rounds = environment("FVD_TEST_ROUNDS", 20);
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("FVD_TEST_SEED=" + std::to_string(seed));
    std::mt19937_64 random(seed);
    const std::uint32_t block = 512U << random() % 6;
    const auto disk = make_disk(small_chunks(5 * kSmallChunk + 512 * (random() % 128), block));
    const auto image = open_disk(*disk);
    std::vector<std::string> names;
    for (int step = 0; step < 60; ++step) {
      const std::uint64_t size = image->virtual_size();
      const std::uint64_t offset = random() % size;
      const std::uint64_t length = std::min(size - offset, random() % (random() % 4 == 0 ? 200000 : 9000) + 1);
      switch (random() % 8) {
        case 0:
        case 1:
        case 2:
          write_all(*image, offset, pattern(length, random()));
          break;
        case 3:
          ASSERT_OK(image->discard(offset, length));
          break;
        case 4:
          if (!names.empty()) {
            const auto source = image->find_snapshot(names[random() % names.size()]);
            ASSERT_OK(image->copy_range(source->id, offset / kSmallChunk * kSmallChunk,
                                        offset / kSmallChunk * kSmallChunk, 2 * kSmallChunk));
          }
          break;
        case 5:
          if (random() % 3 == 0) ASSERT_OK(image->resize(kSmallChunk + 512 * (random() % 900), true));
          break;
        case 6:
          if (names.size() > 2 && random() % 2 == 0) ASSERT_OK(image->snapshot_goto(names[random() % names.size()]));
          if (names.size() > 4) {
            const auto victim = names.begin() + static_cast<std::ptrdiff_t>(random() % names.size());
            ASSERT_OK(image->snapshot_delete(*victim));
            names.erase(victim);
          }
          break;
        default:
          names.push_back("s" + std::to_string(step));
          take(*image, names.back());
      }
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      for (std::size_t j = i; j < names.size(); ++j) expect_covers(*image, names[i], names[j]);
    }
  }
}

}  // namespace
}  // namespace fvd::test
