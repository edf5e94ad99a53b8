// Chunks shared between states: copy-on-write of single blocks, reference counts that only snapshot operations touch,
// copy_range, exclusive bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <thread>
#include <vector>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 8 * kMiB;

class ImageShare : public ::testing::Test {
 protected:
  void start(const CreateOptions& options) {
    disk_ = make_disk(options);
    image_ = open_disk(*disk_);
    ASSERT_NE(image_, nullptr);
  }
  void SetUp() override { start(small_chunks(kSize)); }
  void reopen() {
    ASSERT_OK(image_->close());
    image_.reset();
    expect_sound(*disk_);
    image_ = open_disk(*disk_);
    ASSERT_NE(image_, nullptr);
  }
  std::uint64_t written(std::string_view structure) { return metric(*image_, "fvd_write_bytes_total", structure); }
  std::uint64_t read(std::string_view structure) { return metric(*image_, "fvd_read_bytes_total", structure); }
  Bytes slice(const Bytes& bytes, std::uint64_t offset, std::uint64_t length) {
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(offset);
    return Bytes(begin, begin + static_cast<std::ptrdiff_t>(length));
  }

  std::shared_ptr<CrashDisk> disk_;
  std::unique_ptr<Image> image_;
};

TEST_F(ImageShare, ASmallWriteAfterASnapshotCostsASmallWrite) {
  CreateOptions options;  // 1 MiB chunks, 4 KiB blocks
  options.virtual_size = 64 * kMiB;
  start(options);
  write_all(*image_, 0, pattern(64 * kMiB, 1));
  take(*image_, "s");
  const std::uint64_t before = written("data");
  constexpr std::uint64_t kWrites = 300;
  for (std::uint64_t i = 0; i < kWrites; ++i) write_all(*image_, i * 52 % 16384 * 4096, pattern(4096, i));
  EXPECT_EQ(written("data") - before, kWrites * 4096);
  ASSERT_OK(image_->flush());
  for (std::uint64_t i = 0; i < kWrites; ++i) {
    ASSERT_EQ(difference(pattern(4096, i), read_range(*image_, i * 52 % 16384 * 4096, 4096)), "") << i;
  }
  EXPECT_EQ(difference(pattern(64 * kMiB, 1), read_snapshot(*image_, "s")), "");
}

TEST_F(ImageShare, AWriteIntoAnOwnedChunkWritesNothingElse) {
  write_all(*image_, 0, pattern(kSmallChunk, 1));
  ASSERT_OK(image_->flush());
  const auto operations = [&] {
    disk_->arm({});
    write_all(*image_, 8192, pattern(4096, 2));
    return disk_->operations();
  }();
  EXPECT_EQ(operations, 1U);
}

TEST_F(ImageShare, OnlySnapshotOperationsTouchReferenceCounts) {
  for (std::uint64_t i = 0; i < 20; ++i) {
    write_all(*image_, i * 300000, pattern(200000, i));
    take(*image_, "s" + std::to_string(i));
  }
  const std::uint64_t reads = read("refcounts");
  const std::uint64_t writes = written("refcounts");
  std::mt19937_64 random(1);
  for (int i = 0; i < 3000; ++i) {
    write_all(*image_, random() % (kSize / 4096) * 4096, pattern(4096, random()));
    if (i % 7 == 0) ASSERT_OK(image_->flush());
    if (i % 50 == 0) ASSERT_OK(image_->discard(random() % kSize, random() % 200000));
    if (i % 90 == 0) ASSERT_OK(image_->resize(kSize + random() % 100 * 512, true));
    if (i % 60 == 0)
      ASSERT_OK(
          image_->copy_range(static_cast<SnapshotId>(1 + random() % 20), 0, random() % 100 * kSmallChunk, kSmallChunk));
  }
  EXPECT_GT(metric(*image_, "fvd_commits_total"), 0U);
  EXPECT_EQ(read("refcounts"), reads);
  EXPECT_EQ(written("refcounts"), writes);
  ASSERT_OK(image_->snapshot_goto("s3"));
  EXPECT_EQ(written("refcounts"), writes) << "going to a snapshot changes no count";
  take(*image_, "t");
  EXPECT_GT(written("refcounts"), writes);
}

// Owned before the snapshot, shared by it with a copy of the chunk, and owned by neither after it.
TEST_F(ImageShare, AnOriginThatACopyUsesStaysWhenTheFirstOwnerLetsGo) {
  write_all(*image_, 0, pattern(kSmallChunk, 1));
  take(*image_, "a");
  write_all(*image_, 0, pattern(4096, 2));
  ASSERT_OK(image_->flush());
  ASSERT_OK(image_->snapshot_delete("a"));
  const SnapshotId s = take(*image_, "s");
  ASSERT_OK(image_->copy_range(s, 0, kSmallChunk, kSmallChunk));
  write_all(*image_, kSmallChunk + 8192, pattern(4096, 3));
  ASSERT_OK(image_->snapshot_delete("s"));
  write_all(*image_, 0, pattern(kSmallChunk, 4));
  ASSERT_OK(image_->flush());
  ASSERT_OK(image_->compact({}));
  for (std::uint64_t i = 2; i < 6; ++i) write_all(*image_, i * kSmallChunk, pattern(kSmallChunk, i));
  Bytes wanted = pattern(kSmallChunk, 1);
  std::ranges::copy(pattern(4096, 2), wanted.begin());
  std::ranges::copy(pattern(4096, 3), wanted.begin() + 8192);
  EXPECT_EQ(difference(wanted, read_range(*image_, kSmallChunk, kSmallChunk)), "");
  reopen();
  EXPECT_EQ(difference(wanted, read_range(*image_, kSmallChunk, kSmallChunk)), "");
}

TEST_F(ImageShare, GuestBytesAreCounted) {
  const std::uint64_t writes = metric(*image_, "fvd_guest_write_bytes_total");
  const std::uint64_t reads = metric(*image_, "fvd_guest_read_bytes_total");
  write_all(*image_, 1000, pattern(5000, 1));
  read_range(*image_, 0, 7000);
  EXPECT_EQ(metric(*image_, "fvd_guest_write_bytes_total"), writes + 5000);
  EXPECT_EQ(metric(*image_, "fvd_guest_read_bytes_total"), reads + 7000);
}

TEST_F(ImageShare, ReadsOfHolesTouchNoDisk) {
  const std::uint64_t reads = read("data");
  read_all(*image_);
  EXPECT_EQ(read("data"), reads);
}

// Every way a chunk can be shared when it is written, against what the states must hold.
TEST_F(ImageShare, WritesIntoSharedPartialChunksKeepEveryState) {
  std::vector<Bytes> states;
  Bytes content = zeros(kSmallChunk);
  const auto write = [&](std::uint64_t offset, std::uint64_t length, std::uint64_t seed) {
    const Bytes data = pattern(length, seed);
    write_all(*image_, offset, data);
    std::copy(data.begin(), data.end(), content.begin() + static_cast<std::ptrdiff_t>(offset));
  };
  std::mt19937_64 random(2);
  for (std::uint64_t i = 0; i < 40; ++i) {
    write(random() % 60000, 1 + random() % 5000, i);
    if (i % 3 == 0) write(random() % 60000 / 4096 * 4096, 4096, 100 + i);
    if (i == 20) write(0, kSmallChunk, 99);
    take(*image_, std::to_string(i));
    states.push_back(content);
  }
  const auto compare = [&] {
    for (std::size_t i = 0; i < states.size(); i += 1) {
      const auto info = image_->find_snapshot(std::to_string(i));
      if (!info) continue;
      const auto reader = image_->open_snapshot(info->id);
      ASSERT_OK(reader);
      ASSERT_EQ(difference(states[i], read_range(**reader, 0, kSmallChunk)), "") << i;
    }
  };
  compare();
  reopen();
  compare();
  for (std::size_t i = 0; i < states.size(); i += 2) ASSERT_OK(image_->snapshot_delete(std::to_string(i)));
  compare();
  reopen();
  compare();
  EXPECT_EQ(difference(content, read_range(*image_, 0, kSmallChunk)), "");
}

TEST_F(ImageShare, CopyRangeSharesChunksOfASnapshot) {
  write_all(*image_, 0, pattern(kSize, 1));
  const SnapshotId id = take(*image_, "s");
  write_all(*image_, 0, pattern(kSize, 2));
  ASSERT_OK(image_->flush());
  const std::uint64_t before = written("data");
  const auto n = image_->copy_range(id, kSmallChunk, kSmallChunk, 40 * kSmallChunk);
  ASSERT_OK(n);
  EXPECT_EQ(*n, 40 * kSmallChunk);
  EXPECT_EQ(written("data"), before) << "whole chunks of a snapshot are shared, not copied";
  Bytes wanted = pattern(kSize, 2);
  const Bytes source = slice(pattern(kSize, 1), kSmallChunk, 40 * kSmallChunk);
  std::copy(source.begin(), source.end(), wanted.begin() + kSmallChunk);
  EXPECT_EQ(difference(wanted, read_all(*image_)), "");
  reopen();
  EXPECT_EQ(difference(wanted, read_all(*image_)), "");
  EXPECT_EQ(difference(pattern(kSize, 1), read_snapshot(*image_, "s")), "");
}

TEST_F(ImageShare, CopyRangeOfEveryAlignment) {
  write_all(*image_, 0, pattern(4 * kMiB, 1));
  write_all(*image_, 5 * kMiB + 4096, pattern(50000, 2));
  const SnapshotId id = take(*image_, "s");
  const Bytes source = read_all(*image_);
  Bytes wanted = source;
  std::mt19937_64 random(3);
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t unit = std::array<std::uint64_t, 4>{1, 512, 4096, kSmallChunk}[random() % 4];
    const std::uint64_t from = random() % kSize / unit * unit;
    const std::uint64_t to = random() % kSize / unit * unit;
    const std::uint64_t length = random() % (3 * kSmallChunk);
    const std::uint64_t expected = std::min({length, kSize - from, kSize - to});
    const auto n = image_->copy_range(id, from, to, length);
    ASSERT_OK(n);
    ASSERT_EQ(*n, expected);
    const Bytes piece = slice(source, from, expected);
    std::copy(piece.begin(), piece.end(), wanted.begin() + static_cast<std::ptrdiff_t>(to));
    ASSERT_EQ(difference(wanted, read_all(*image_)), "") << from << " to " << to << " length " << length;
  }
  reopen();
  EXPECT_EQ(difference(wanted, read_all(*image_)), "");
}

TEST_F(ImageShare, CopyRangeWithinCurrentState) {
  write_all(*image_, 0, pattern(kMiB, 1));
  const auto n = image_->copy_range(0, 100, 2 * kMiB + 5000, 600000);
  ASSERT_OK(n);
  EXPECT_EQ(difference(slice(pattern(kMiB, 1), 100, 600000), read_range(*image_, 2 * kMiB + 5000, 600000)), "");
  EXPECT_CODE(Code::kInvalid, image_->copy_range(0, 0, 4096, 8192));
  EXPECT_CODE(Code::kInvalid, image_->copy_range(0, 4096, 0, 8192));
  EXPECT_OK(image_->copy_range(0, 0, 8192, 8192));
}

// Two entries of current-state name one chunk, which is only safe while a snapshot reaches it.
TEST_F(ImageShare, DeletingTheSnapshotUnderTwiceSharedChunks) {
  for (const bool reopened : {false, true}) {
    start(small_chunks(kSize));
    write_all(*image_, 0, pattern(kSmallChunk, 1));
    const SnapshotId id = take(*image_, "s");
    for (const std::uint64_t chunk : {3, 7, 9}) {
      ASSERT_OK(image_->copy_range(id, 0, chunk * kSmallChunk, kSmallChunk));
    }
    ASSERT_OK(image_->snapshot_delete("s"));
    if (reopened) reopen();
    write_all(*image_, 3 * kSmallChunk + 4096, pattern(4096, 2));
    ASSERT_OK(image_->flush());
    Bytes changed = pattern(kSmallChunk, 1);
    const Bytes piece = pattern(4096, 2);
    std::copy(piece.begin(), piece.end(), changed.begin() + 4096);
    for (const std::uint64_t chunk : {0, 7, 9}) {
      EXPECT_EQ(difference(pattern(kSmallChunk, 1), read_range(*image_, chunk * kSmallChunk, kSmallChunk)), "");
    }
    EXPECT_EQ(difference(changed, read_range(*image_, 3 * kSmallChunk, kSmallChunk)), "");
    // One name given up must not free what the others still reach.
    ASSERT_OK(image_->discard(7 * kSmallChunk, kSmallChunk));
    write_all(*image_, 9 * kSmallChunk, pattern(kSmallChunk, 3));
    ASSERT_OK(image_->flush());
    write_all(*image_, 20 * kSmallChunk, pattern(10 * kSmallChunk, 4));
    ASSERT_OK(image_->flush());
    EXPECT_EQ(difference(pattern(kSmallChunk, 1), read_range(*image_, 0, kSmallChunk)), "");
    EXPECT_EQ(difference(changed, read_range(*image_, 3 * kSmallChunk, kSmallChunk)), "");
    EXPECT_EQ(read_range(*image_, 7 * kSmallChunk, kSmallChunk), zeros(kSmallChunk));
    reopen();
    EXPECT_EQ(difference(pattern(kSmallChunk, 1), read_range(*image_, 0, kSmallChunk)), "");
    EXPECT_EQ(difference(changed, read_range(*image_, 3 * kSmallChunk, kSmallChunk)), "");
  }
}

TEST_F(ImageShare, SnapshotsOfTwiceSharedChunks) {
  write_all(*image_, 0, pattern(kSmallChunk, 1));
  const SnapshotId id = take(*image_, "s");
  ASSERT_OK(image_->copy_range(id, 0, 5 * kSmallChunk, kSmallChunk));
  take(*image_, "t");
  ASSERT_OK(image_->snapshot_delete("s"));
  write_all(*image_, 0, pattern(kSmallChunk, 2));
  ASSERT_OK(image_->snapshot_delete("t"));
  reopen();
  EXPECT_EQ(difference(pattern(kSmallChunk, 1), read_range(*image_, 5 * kSmallChunk, kSmallChunk)), "");
  EXPECT_EQ(difference(pattern(kSmallChunk, 2), read_range(*image_, 0, kSmallChunk)), "");
}

// A chunk that current-state named twice when its last snapshot went waits to be settled. A snapshot taken meanwhile
// reaches it again, and must keep it whatever becomes of the two names.
TEST_F(ImageShare, ASnapshotKeepsChunksThatWaitedToBeSettled) {
  for (const bool both : {false, true}) {
    start(small_chunks(kSize));
    write_all(*image_, 0, pattern(kSmallChunk, 1));
    const SnapshotId id = take(*image_, "s");
    ASSERT_OK(image_->copy_range(id, 0, 5 * kSmallChunk, kSmallChunk));
    ASSERT_OK(image_->snapshot_delete("s"));
    take(*image_, "kept");
    const Bytes held = read_snapshot(*image_, "kept");
    write_all(*image_, 5 * kSmallChunk, pattern(kSmallChunk, 2));
    if (both) write_all(*image_, 0, pattern(kSmallChunk, 3));
    take(*image_, "other");
    ASSERT_OK(image_->snapshot_delete("other"));  // settles
    write_all(*image_, 0, pattern(kSmallChunk, 4));
    ASSERT_OK(image_->flush());
    write_all(*image_, 20 * kSmallChunk, pattern(10 * kSmallChunk, 5));
    EXPECT_EQ(difference(held, read_snapshot(*image_, "kept")), "");
    reopen();
    EXPECT_EQ(difference(held, read_snapshot(*image_, "kept")), "");
  }
}

// A change of the mapping that writes no byte is a change all the same.
TEST_F(ImageShare, ClosingKeepsWhatOnlyUnmapsChunks) {
  const SnapshotId empty = take(*image_, "empty");
  write_all(*image_, 0, pattern(4 * kSmallChunk, 1));
  take(*image_, "full");
  reopen();
  ASSERT_OK(image_->copy_range(empty, 0, 0, kSmallChunk));
  reopen();
  EXPECT_EQ(read_range(*image_, 0, kSmallChunk), zeros(kSmallChunk));
  ASSERT_OK(image_->discard(2 * kSmallChunk, kSmallChunk));
  reopen();
  EXPECT_EQ(read_range(*image_, 2 * kSmallChunk, kSmallChunk), zeros(kSmallChunk));
}

TEST_F(ImageShare, ExclusiveIsWhatDeletingFrees) {
  write_all(*image_, 0, pattern(10 * kSmallChunk, 1));
  const SnapshotId first = take(*image_, "first");
  write_all(*image_, 0, pattern(4 * kSmallChunk, 2));
  const SnapshotId second = take(*image_, "second");
  write_all(*image_, 2 * kSmallChunk, pattern(6 * kSmallChunk, 3));
  const auto exclusive_first = image_->snapshot_exclusive(first);
  const auto exclusive_second = image_->snapshot_exclusive(second);
  ASSERT_OK(exclusive_first);
  ASSERT_OK(exclusive_second);
  EXPECT_EQ(*exclusive_first, 4 * kSmallChunk);   // 0..3, overwritten before the second
  EXPECT_EQ(*exclusive_second, 2 * kSmallChunk);  // 2..3; 4..7 are the first's too
  const std::vector<SnapshotId> asked{second, 7, first};
  const std::vector<Result<std::uint64_t>> together = image_->snapshots_exclusive(asked);
  ASSERT_EQ(together.size(), 3U);
  EXPECT_EQ(*together[0], *exclusive_second);
  EXPECT_CODE(Code::kNotFound, together[1]);
  EXPECT_EQ(*together[2], *exclusive_first);
  reopen();
  const std::uint64_t before = image_->info().chunks_used;
  ASSERT_OK(image_->snapshot_delete("first"));
  ASSERT_OK(image_->flush());
  reopen();
  const std::uint64_t after = image_->info().chunks_used;
  EXPECT_GE(before - after, 4U);
  EXPECT_LE(before - after, 6U);  // and perhaps chunks of tables
  EXPECT_EQ(*image_->snapshot_exclusive(second), 6 * kSmallChunk);
}

TEST_F(ImageShare, ExclusiveThatCannotBeToldIsAnErrorForEach) {
  write_all(*image_, 0, pattern(kSmallChunk, 1));
  const std::vector<SnapshotId> asked{take(*image_, "a"), take(*image_, "b"), take(*image_, "c")};
  disk_->arm({.kind = Fault::Kind::kError, .at = 1, .reads = true});  // of the counts
  const std::vector<Result<std::uint64_t>> together = image_->snapshots_exclusive(asked);
  disk_->disarm();
  ASSERT_EQ(together.size(), asked.size());
  for (const Result<std::uint64_t>& one : together) EXPECT_CODE(Code::kIo, one);
  for (const SnapshotId id : asked) EXPECT_OK(image_->snapshot_exclusive(id));
}

TEST_F(ImageShare, AllocatedNeverPromisesMoreThanTheHostGave) {
  write_all(*image_, 4096, pattern(4096, 1));
  write_all(*image_, 10 * kSmallChunk, pattern(3 * kSmallChunk, 2));
  ASSERT_OK(image_->flush());
  EXPECT_GE(image_->allocated(), 3 * kSmallChunk);
  EXPECT_LE(image_->allocated(), *disk_->open()->allocated());
  EXPECT_EQ(image_->info().allocated, image_->allocated());
}

TEST_F(ImageShare, BackgroundCompletionMakesPartialChunksWhole) {
  write_all(*image_, 0, pattern(4 * kSmallChunk, 1));
  take(*image_, "s");
  for (std::uint64_t chunk = 0; chunk < 4; ++chunk) write_all(*image_, chunk * kSmallChunk, pattern(4096, 2));
  ASSERT_OK(image_->close());
  image_.reset();
  OpenOptions options = quiet();
  options.completion_idle = std::chrono::milliseconds(1);
  image_ = open_disk(*disk_, options);
  for (int i = 0; i < 20000 && image_->info().partial_chunks != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(image_->info().partial_chunks, 0U);
  Bytes wanted = pattern(4 * kSmallChunk, 1);
  const Bytes piece = pattern(4096, 2);
  for (std::ptrdiff_t chunk = 0; chunk < 4; ++chunk) {
    std::copy(piece.begin(), piece.end(), wanted.begin() + chunk * std::ptrdiff_t{kSmallChunk});
  }
  EXPECT_EQ(difference(wanted, read_range(*image_, 0, 4 * kSmallChunk)), "");
  reopen();
  EXPECT_EQ(difference(wanted, read_range(*image_, 0, 4 * kSmallChunk)), "");
  EXPECT_EQ(difference(pattern(4 * kSmallChunk, 1),
                       [&] {
                         const auto reader = image_->open_snapshot(image_->current_parent());
                         return reader ? read_range(**reader, 0, 4 * kSmallChunk) : Bytes();
                       }()),
            "");
}

// Whoever syncs next would wait until all that was copied is written.
TEST_F(ImageShare, BackgroundCompletionIsCommittedAsItGoes) {
  constexpr std::uint64_t kCompleted = 32 * kMiB;
  start(small_chunks(kCompleted));
  write_all(*image_, 0, pattern(kCompleted, 1));
  take(*image_, "s");
  for (std::uint64_t at = 0; at < kCompleted; at += kSmallChunk) write_all(*image_, at, pattern(4096, 2));
  ASSERT_OK(image_->close());
  image_.reset();
  OpenOptions options = quiet();
  options.commit_interval = std::chrono::milliseconds(20);
  options.completion_idle = std::chrono::milliseconds(1);
  image_ = open_disk(*disk_, options);
  for (int i = 0; i < 20000 && image_->info().partial_chunks != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(image_->info().partial_chunks, 0U);
  EXPECT_GE(metric(*image_, "fvd_commits_total"), kCompleted / (8 * kMiB) - 1);  // the last one may be to come
}

}  // namespace
}  // namespace fvd::test
