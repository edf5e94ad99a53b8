// The difference of two states from metadata, in both of its forms, and where in the file bytes lie: against content,
// byte by byte, under random histories. Never misses a byte that differs, and names no more than the blocks written.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 8 * kSmallChunk + 3 * kSectorSize;

using Ranges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

// The runs of a difference, joined; every one checked for sense.
std::vector<StateDiff::Run> runs_of(Image& image, SnapshotId a, SnapshotId b) {
  std::vector<StateDiff::Run> runs;
  const auto diff = image.open_diff(a, b);
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

Ranges diff(Image& image, SnapshotId a, SnapshotId b) {
  Ranges ranges;
  EXPECT_OK(image.diff(a, b, [&](std::uint64_t offset, std::uint64_t length) { ranges.emplace_back(offset, length); }));
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    EXPECT_NE(ranges[i].second, 0U);
    if (i == 0) continue;
    EXPECT_GT(ranges[i].first, ranges[i - 1].first + ranges[i - 1].second) << "in order and joined";
  }
  return ranges;
}

Bytes state(Image& image, SnapshotId id) {
  if (id == 0) return read_all(image);
  auto reader = image.open_snapshot(id);
  EXPECT_OK(reader);
  return reader ? read_all(**reader) : Bytes();
}

// "" when every byte that differs is in a range, both forms say the same, and in both directions.
std::string missed(Image& image, SnapshotId a, SnapshotId b) {
  const Ranges ranges = diff(image, a, b);
  Ranges from_runs;
  for (const StateDiff::Run& run : runs_of(image, a, b)) {
    if (run.differs) from_runs.emplace_back(run.offset, run.length);
  }
  EXPECT_EQ(ranges, from_runs);
  EXPECT_EQ(ranges, diff(image, b, a));
  Bytes one = state(image, a);
  Bytes other = state(image, b);
  const std::size_t size = std::max(one.size(), other.size());
  one.resize(size);
  other.resize(size);
  for (const auto& [offset, length] : ranges) {
    if (offset + length > size) return "a range past the end";
    std::copy_n(one.begin() + static_cast<std::ptrdiff_t>(offset), length,
                other.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  return difference(one, other);
}

TEST(ImageDiff, IsAsFineAsABlock) {
  const auto disk = make_disk(small_chunks(8 * kSmallChunk));
  const auto image = open_disk(*disk);
  write_all(*image, 0, pattern(3 * kSmallChunk, 1));
  const SnapshotId a = take(*image, "a");
  write_all(*image, kSmallChunk + 5000, pattern(10, 2));
  ASSERT_OK(image->discard(2 * kSmallChunk, kSmallChunk));
  const SnapshotId b = take(*image, "b");
  write_all(*image, kSmallChunk + 9000, pattern(10, 3));
  const SnapshotId c = take(*image, "c");
  const auto first = runs_of(*image, a, b);
  ASSERT_EQ(first.size(), 5U);
  EXPECT_EQ(first[1].offset, kSmallChunk + 4096);
  EXPECT_EQ(first[1].length, 4096U);
  EXPECT_EQ(first[3].offset, 2 * kSmallChunk);
  EXPECT_EQ(first[3].length, kSmallChunk);
  EXPECT_EQ(differing(runs_of(*image, a, a)), 0U);
  EXPECT_EQ(differing(runs_of(*image, a, c)), 8192 + kSmallChunk);
  EXPECT_EQ(missed(*image, a, c), "");
}

TEST(ImageDiff, EmptyAndDiscardedAreTheSameZeros) {
  const auto disk = make_disk(small_chunks(4 * kSmallChunk));
  const auto image = open_disk(*disk);
  const SnapshotId a = take(*image, "a");
  write_all(*image, 0, pattern(kSmallChunk, 1));
  ASSERT_OK(image->discard(0, kSmallChunk));
  const SnapshotId b = take(*image, "b");
  EXPECT_EQ(differing(runs_of(*image, a, b)), 0U);
  ASSERT_OK(image->resize(6 * kSmallChunk + 512, false));
  const SnapshotId c = take(*image, "c");
  EXPECT_EQ(differing(runs_of(*image, a, c)), 0U) << "what only one of them has is zeros too";
}

TEST(ImageDiff, NeedsNoData) {
  const auto disk = make_disk(small_chunks(64 * kSmallChunk));
  const auto image = open_disk(*disk);
  write_all(*image, 0, pattern(32 * kSmallChunk, 1));
  const SnapshotId a = take(*image, "a");
  write_all(*image, 4096, pattern(4096, 2));
  const SnapshotId b = take(*image, "b");
  const std::uint64_t before = metric(*image, "fvd_read_bytes_total", "data");
  EXPECT_EQ(differing(runs_of(*image, a, b)), 4096U);
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

TEST(ImageDiff, NamesTheBlocksWritten) {
  const auto disk = make_disk(small_chunks(kSize));
  const auto image = open_disk(*disk);
  write_all(*image, 0, pattern(3 * kSmallChunk, 1));
  const SnapshotId s1 = take(*image, "s1");
  EXPECT_EQ(diff(*image, s1, 0), Ranges{});
  write_all(*image, 8192 + 100, pattern(10, 2));                // one block of a shared chunk
  write_all(*image, 5 * kSmallChunk, pattern(kSmallChunk, 3));  // a whole new chunk
  write_all(*image, kSize - 512, pattern(512, 4));
  const std::uint64_t last = 8 * kSmallChunk;
  EXPECT_EQ(diff(*image, s1, 0), (Ranges{{8192, 4096}, {5 * kSmallChunk, kSmallChunk}, {last, kSize - last}}));
  EXPECT_EQ(diff(*image, 0, s1), diff(*image, s1, 0));
  const SnapshotId s2 = take(*image, "s2");
  write_all(*image, 8192, pattern(4096, 5));
  write_all(*image, 20480, pattern(4096, 6));
  EXPECT_EQ(diff(*image, s2, 0), (Ranges{{8192, 4096}, {20480, 4096}}));
  EXPECT_EQ(missed(*image, s1, 0), "");
  EXPECT_EQ(missed(*image, s2, 0), "");
  EXPECT_EQ(diff(*image, s2, s2), Ranges{});
  ASSERT_OK(image->snapshot_goto("s1"));
  EXPECT_EQ(diff(*image, s1, 0), Ranges{});
}

TEST(ImageDiff, UnknownSnapshotsAndOpenOnes) {
  const auto disk = make_disk(small_chunks(kSize));
  const auto image = open_disk(*disk);
  const SnapshotId s1 = take(*image, "s1");
  EXPECT_CODE(Code::kNotFound, image->diff(s1, 99, [](std::uint64_t, std::uint64_t) {}));
  EXPECT_CODE(Code::kNotFound, image->diff(99, 0, [](std::uint64_t, std::uint64_t) {}));
  write_all(*image, 0, pattern(512, 1));
  Status deleted;
  ASSERT_OK(image->diff(s1, 0, [&](std::uint64_t, std::uint64_t) { deleted = image->snapshot_delete("s1"); }));
  EXPECT_CODE(Code::kBusy, deleted);
  EXPECT_OK(image->snapshot_delete("s1"));  // and not for longer
}

TEST(ImageDiff, AShorterDiskIsFollowedByZeros) {
  const auto disk = make_disk(small_chunks(kSize));
  const auto image = open_disk(*disk);
  write_all(*image, 0, pattern(2 * kSmallChunk, 1));
  const SnapshotId s1 = take(*image, "s1");
  ASSERT_OK(image->resize(20 * kSmallChunk, false));
  EXPECT_EQ(diff(*image, s1, 0), Ranges{}) << "what was added is a hole";
  write_all(*image, 15 * kSmallChunk, pattern(512, 2));
  EXPECT_EQ(missed(*image, s1, 0), "");
  EXPECT_EQ(diff(*image, s1, 0), (Ranges{{15 * kSmallChunk, kSmallChunk}}));
  ASSERT_OK(image->resize(kSmallChunk + 512, true));
  EXPECT_EQ(missed(*image, s1, 0), "");
  const Ranges cut = diff(*image, s1, 0);
  ASSERT_EQ(cut.size(), 1U);
  EXPECT_LE(cut[0].first, kSmallChunk + 4096);
}

TEST(ImageDiff, OverABaseImage) {
  TemporaryDirectory directory;
  const std::string base = directory.file("base");
  const Bytes content = pattern(5 * kSmallChunk, 9);
  std::ofstream(base, std::ios::binary)
      .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
  CreateOptions options = small_chunks(kSize);
  options.base_path = base;
  ASSERT_OK(Image::create(directory.file("image"), options));
  auto image = Image::open(directory.file("image"), quiet());
  ASSERT_OK(image);
  const SnapshotId s1 = take(**image, "s1");
  EXPECT_EQ(diff(**image, s1, 0), Ranges{});
  ASSERT_OK((*image)->discard(kSmallChunk, kSmallChunk));
  write_all(**image, 4096, pattern(4096, 1));
  EXPECT_EQ(diff(**image, s1, 0), (Ranges{{4096, 4096}, {kSmallChunk, kSmallChunk}}));
  ASSERT_OK((*image)->discard(6 * kSmallChunk, kSmallChunk));
  EXPECT_EQ(diff(**image, s1, 0).size(), 2U) << "zeros over nothing are zeros";
  ASSERT_OK((*image)->resize(kSmallChunk / 2, true));
  EXPECT_EQ(missed(**image, s1, 0), "");

  const auto extent = (*image)->extent(0);
  ASSERT_OK(extent);
  EXPECT_EQ(extent->place, Extent::Place::kBase);
  EXPECT_EQ(extent->file_offset, 0U);
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
    std::vector<SnapshotId> states{0};
    const auto any_name = [&] {
      const SnapshotId id = states[random() % states.size()];
      return id == 0 ? std::string() : image->find_snapshot(id)->name;
    };
    for (int step = 0; step < 60; ++step) {
      const std::uint64_t size = image->virtual_size();
      const std::uint64_t offset = random() % size;
      const std::uint64_t length = std::min(size - offset, random() % (random() % 4 == 0 ? 200000 : 9000) + 1);
      switch (random() % 9) {
        case 0:
          states.push_back(take(*image, "s" + std::to_string(step)));
          break;
        case 1:
          ASSERT_OK(image->discard(offset, length));
          break;
        case 2: {
          const SnapshotId from = states[random() % states.size()];
          const std::uint64_t to = random() % 2 == 0 ? offset / kSmallChunk * kSmallChunk : offset;
          if (from != 0) ASSERT_OK(image->copy_range(from, random() % 8 * kSmallChunk, to, 2 * kSmallChunk));
          break;
        }
        case 3:
          if (const std::string to = any_name(); !to.empty() && random() % 3 == 0) ASSERT_OK(image->snapshot_goto(to));
          break;
        case 4:
          if (random() % 3 == 0) ASSERT_OK(image->resize(kSectorSize * (1 + random() % 1200), true));
          break;
        case 5:
          if (const std::string victim = any_name(); !victim.empty() && states.size() > 5) {
            const SnapshotId id = image->find_snapshot(victim)->id;
            ASSERT_OK(image->snapshot_delete(victim));
            states.erase(std::find(states.begin(), states.end(), id));
          }
          break;
        default:
          write_all(*image, offset, pattern(length, random()));
      }
    }
    for (const SnapshotId a : states) {
      for (const SnapshotId b : states) ASSERT_EQ(missed(*image, a, b), "") << a << " and " << b;
    }
  }
}

TEST(ImageExtent, TellsWhereInTheFileBytesLie) {
  const auto disk = make_disk(small_chunks(kSize));
  const auto image = open_disk(*disk);
  write_all(*image, 0, pattern(2 * kSmallChunk, 1));
  take(*image, "s1");
  write_all(*image, 8192, pattern(4096, 2));
  ASSERT_OK(image->flush());
  const Bytes wanted = read_all(*image);
  const auto file = disk->open();
  Bytes seen(kSize);
  for (std::uint64_t at = 0; at < kSize;) {
    const auto extent = image->extent(at);
    ASSERT_OK(extent);
    EXPECT_EQ(extent->offset, at);
    if (extent->data) {
      EXPECT_EQ(extent->place, Extent::Place::kImage);
      ASSERT_OK(file->read(extent->file_offset, std::span(seen).subspan(at, extent->length)));
    }
    at += extent->length;
  }
  EXPECT_EQ(difference(wanted, seen), "");
}

}  // namespace
}  // namespace fvd::test
