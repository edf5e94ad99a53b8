// Image::diff never misses a byte that differs, and names no more than the blocks written; Extent tells where bytes
// lie.
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 8 * kSmallChunk + 3 * kSectorSize;

using Ranges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

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

// "" when every byte that differs is in a range.
std::string missed(Image& image, SnapshotId a, SnapshotId b) {
  Bytes one = state(image, a);
  Bytes other = state(image, b);
  const std::size_t size = std::max(one.size(), other.size());
  one.resize(size);
  other.resize(size);
  for (const auto& [offset, length] : diff(image, a, b)) {
    if (offset + length > size) return "a range past the end";
    std::copy_n(one.begin() + static_cast<std::ptrdiff_t>(offset), length,
                other.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  return difference(one, other);
}

TEST(ImageStateDiff, NamesTheBlocksWritten) {
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

TEST(ImageStateDiff, UnknownSnapshotsAndOpenOnes) {
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

TEST(ImageStateDiff, AShorterDiskIsFollowedByZeros) {
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

TEST(ImageStateDiff, OverABaseImage) {
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

TEST(ImageStateDiff, RandomHistoriesMissNothing) {
  const std::uint64_t seed = environment("FVD_TEST_SEED", 1);
  SCOPED_TRACE("FVD_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (std::uint64_t round = 0; round < environment("FVD_TEST_ROUNDS", 8); ++round) {
    const auto disk = make_disk(small_chunks(kSize, round % 2 == 0 ? 4096 : 512));
    const auto image = open_disk(*disk);
    std::vector<SnapshotId> states{0};
    for (std::uint64_t step = 0; step < 60; ++step) {
      const std::uint64_t size = image->virtual_size();
      const std::uint64_t offset = random() % size;
      const std::uint64_t length = 1 + random() % (random() % 4 == 0 ? 2 * kSmallChunk : 5000);
      switch (random() % 10) {
        case 0:
          states.push_back(take(*image, "s" + std::to_string(step)));
          break;
        case 1:
          ASSERT_OK(image->discard(offset, length));
          break;
        case 2: {
          const SnapshotId from = states[random() % states.size()];
          const std::uint64_t to = random() % 2 == 0 ? random() % 8 * kSmallChunk : offset;
          if (from != 0 && to < size) ASSERT_OK(image->copy_range(from, random() % 8 * kSmallChunk, to, kSmallChunk));
          break;
        }
        case 3:
          if (const auto to = states[random() % states.size()]; to != 0 && random() % 3 == 0) {
            ASSERT_OK(image->snapshot_goto(image->find_snapshot(to)->name));
          }
          break;
        case 4:
          if (random() % 3 == 0) ASSERT_OK(image->resize(kSectorSize * (1 + random() % 1200), true));
          break;
        default:
          ASSERT_OK(image->write(offset, pattern(length, step)));
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
