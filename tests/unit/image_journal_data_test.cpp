// Small syncs put their data into the journal: when they do, when they do not, and what becomes of it.
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <thread>

#include "base/crc32c.h"
#include "base/endian.h"
#include "format/header.h"
#include "format/journal.h"
#include "format/superblock.h"
#include "image/journaled_data.h"
#include "image/recent_writes.h"
#include "support/image_rig.h"
#include "support/memory_file.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 12 * kSmallChunk;

// All written, then a snapshot: every first write to a block changes a mapping. Closed.
std::shared_ptr<CrashDisk> disk_with_snapshot(std::uint32_t journal_half = 256 * kKiB) {
  CreateOptions options = small_chunks(kSize);
  options.journal_half_size = journal_half;
  const auto disk = make_disk(options);
  const auto image = open_disk(*disk);
  write_all(*image, 0, pattern(kSize, 1));
  take(*image, "s");
  EXPECT_OK(image->close());
  return disk;
}

std::uint64_t journaled(const Image& image) { return metric(image, "fvd_journal_commits_total"); }

// The file has grown by then, so that nothing but what is written needs a sync.
std::unique_ptr<Image> open_grown(CrashDisk& disk, OpenOptions options = quiet()) {
  auto image = open_disk(disk, options);
  write_all(*image, 0, pattern(512, 2));
  EXPECT_OK(image->flush());
  EXPECT_EQ(journaled(*image), 0U);
  return image;
}

TEST(JournalData, ASmallSyncIsOneDurableWrite) {
  const auto disk = disk_with_snapshot();
  const auto image = open_grown(*disk);
  write_all(*image, kSmallChunk, pattern(4096, 3));  // the journal's storage is had here
  ASSERT_OK(image->flush());
  for (std::uint64_t i = 2; i < 8; ++i) {
    const std::uint64_t before = disk->syncs();
    write_all(*image, i * kSmallChunk + 8192, pattern(4096, i));
    write_all(*image, i * kSmallChunk + 20480, pattern(700, i));
    ASSERT_OK(image->flush());
    EXPECT_EQ(disk->syncs(), before + 1);
  }
  EXPECT_EQ(journaled(*image), 7U);
  const std::uint64_t before = disk->syncs();
  ASSERT_OK(image->flush());
  EXPECT_EQ(disk->syncs(), before) << "nothing was written";
  const Bytes wanted = read_all(*image);
  const auto after = disk->reboot(0);
  EXPECT_EQ(difference(wanted, read_all(*open_disk(*after))), "");
}

TEST(JournalData, WritesInPlaceAreJustSynced) {
  const auto disk = disk_with_snapshot();
  const auto image = open_grown(*disk);
  for (std::uint64_t i = 0; i < 3; ++i) {
    write_all(*image, 0, pattern(512, 10 + i));
    ASSERT_OK(image->flush());
  }
  EXPECT_EQ(journaled(*image), 0U);
}

TEST(JournalData, MuchAtATimeGoesToItsPlace) {
  const auto disk = disk_with_snapshot();
  const auto image = open_grown(*disk);
  write_all(*image, kSmallChunk, pattern(20 * kKiB, 3));  // more than a 16th of a half
  ASSERT_OK(image->flush());
  EXPECT_EQ(journaled(*image), 0U);
  EXPECT_LT(metric(*image, "fvd_write_bytes_total", "journal"), 16 * kKiB);
}

TEST(JournalData, ZeroingNeedsASync) {
  const auto disk = disk_with_snapshot();
  const auto image = open_grown(*disk);
  write_all(*image, kSmallChunk, pattern(4096, 3));
  ASSERT_OK(image->flush());
  ASSERT_EQ(journaled(*image), 1U);
  ASSERT_OK(image->discard(kSmallChunk, 1024));
  ASSERT_OK(image->flush());
  EXPECT_EQ(journaled(*image), 1U);
  const Bytes wanted = read_all(*image);
  EXPECT_EQ(difference(wanted, read_all(*open_disk(*disk->reboot(0)))), "");
}

// What the journal holds must not come back over what was zeroed since, be the process killed.
TEST(JournalData, TheBackgroundCommitsWhatWasZeroedToo) {
  const auto disk = disk_with_snapshot();
  OpenOptions options = quiet();
  options.commit_interval = std::chrono::milliseconds(5);
  const auto image = open_disk(*disk, options);
  write_all(*image, 0, pattern(512, 2));
  ASSERT_OK(image->flush());
  write_all(*image, kSmallChunk, pattern(4096, 3));
  ASSERT_OK(image->flush());
  ASSERT_OK(image->discard(kSmallChunk, 1024));
  Bytes wanted = read_all(*image);
  bool there = false;
  for (int i = 0; i < 400 && !there; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    there = difference(wanted, read_all(*open_disk(*disk->clone()))).empty();
  }
  EXPECT_TRUE(there);
}

TEST(JournalData, ManySyncsGoOnOverCheckpoints) {
  const auto disk = disk_with_snapshot(64 * kKiB);
  const auto image = open_grown(*disk);
  for (std::uint64_t i = 0; i < 200; ++i) {
    write_all(*image, kSmallChunk * (1 + i % 8) + i / 8 % 16 * 4096, pattern(600, i));
    ASSERT_OK(image->flush());
  }
  EXPECT_GT(metric(*image, "fvd_checkpoints_total"), 3U);
  EXPECT_GT(journaled(*image), 50U);
  const Bytes wanted = read_all(*image);
  EXPECT_EQ(difference(wanted, read_all(*open_disk(*disk->reboot(0)))), "");
}

// A snapshot's cut makes a chunk an origin, whose blocks nothing puts in place any more.
TEST(JournalData, WhatBecomesAnOriginIsThere) {
  const auto disk = disk_with_snapshot();
  const auto image = open_grown(*disk);
  write_all(*image, kSmallChunk, pattern(kSmallChunk, 3));
  ASSERT_OK(image->flush());
  write_all(*image, kSmallChunk + 4096, pattern(4096, 4));  // in place
  write_all(*image, 2 * kSmallChunk, pattern(4096, 5));
  ASSERT_OK(image->flush());
  ASSERT_EQ(journaled(*image), 1U);
  bool cut = false;
  Bytes wanted;
  std::shared_ptr<CrashDisk> after;
  disk->set_hook([&](DiskOperation operation) {
    if (operation != DiskOperation::kWrite || std::exchange(cut, true)) return;
    write_all(*image, kSmallChunk + 20480, pattern(4096, 6));
    EXPECT_OK(image->flush());
    wanted = read_all(*image);
    after = disk->reboot(0);
  });
  take(*image, "t");
  disk->set_hook({});
  ASSERT_NE(after, nullptr);
  EXPECT_EQ(difference(wanted, read_all(*open_disk(*after))), "");
}

// A commit between the sync of a checkpoint and its switch puts data into a journal that goes with the switch.
TEST(JournalData, ACheckpointTakesWhatIsCommittedBesideIt) {
  const auto disk = disk_with_snapshot();
  OpenOptions options = quiet();
  options.commit_interval = std::chrono::seconds(30);  // the background is there for checkpoints
  const auto image = open_grown(*disk, options);
  write_all(*image, kSmallChunk, pattern(kSmallChunk, 3));
  ASSERT_OK(image->flush());
  const auto main_thread = std::this_thread::get_id();
  int writes = 0;
  bool done = false;
  bool committed = false;
  std::vector<std::shared_ptr<CrashDisk>> cuts;
  disk->set_hook([&](DiskOperation operation) {
    if (std::this_thread::get_id() == main_thread) return;
    // The last change alone reaches the disk: of the superblock, it would be.
    if (committed && operation == DiskOperation::kSync) cuts.push_back(disk->reboot(3));
    if (done) return;
    writes += operation == DiskOperation::kWrite ? 1 : 0;
    if (operation != DiskOperation::kSynced || writes == 0) return;
    done = true;
    const std::uint64_t before = journaled(*image);
    write_all(*image, kSmallChunk + 4096, pattern(512, 4));
    EXPECT_OK(image->flush());
    EXPECT_GT(journaled(*image), before);  // the main thread may be about to count a commit of its own
    committed = true;
  });
  for (std::uint64_t i = 0; metric(*image, "fvd_checkpoints_total") == 0; ++i) {
    if (i < 20) {
      write_all(*image, (2 + i % 8) * kSmallChunk + i / 8 * 4096, pattern(4096, i));
      ASSERT_OK(image->flush());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_LT(i, 20000U);
  }
  disk->set_hook({});
  EXPECT_TRUE(done);
  cuts.push_back(disk->reboot(0));
  EXPECT_GT(cuts.size(), 1U);
  for (const auto& after : cuts) {
    EXPECT_EQ(difference(pattern(512, 4), read_range(*open_disk(*after), kSmallChunk + 4096, 512)), "");
  }
}

// A guest may write what looks like batches of a later epoch, which would prove a loss if they were the journal's own.
TEST(JournalData, WhatAGuestWritesIsNeverTakenForABatch) {
  const auto disk = disk_with_snapshot();
  const auto image = open_grown(*disk);
  std::uint32_t crc = 0;
  format::BatchBuilder one;
  format::BatchBuilder other;
  const auto even = one.finish(1000, 1, 2, 0, &crc);  // one for each half of the journal
  const auto odd = other.finish(1001, 1, 2, 0, &crc);
  std::uint64_t refused = 0;
  for (std::uint64_t shift = 0; shift < 4032; shift += 8) {
    // Wherever the data begins in the batch, some shift puts the forgery at the start of a page.
    Bytes data(12288);
    std::copy_n(even.begin(), 64, data.begin() + static_cast<std::ptrdiff_t>(4096 + shift));
    std::copy_n(odd.begin(), 64, data.begin() + static_cast<std::ptrdiff_t>(8192 + shift));
    if (shift % 256 == 0) {  // so that mappings change
      ASSERT_OK(image->snapshot_goto("s"));
      ASSERT_OK(image->flush());
    }
    const std::uint64_t before = journaled(*image);
    write_all(*image, kSmallChunk * (2 + shift / 8 % 8) + shift / 64 % 4 * 12288, data);
    ASSERT_OK(image->flush());
    refused += journaled(*image) == before ? 1 : 0;
    if (shift % 64 == 0) expect_sound(*disk->clone());
  }
  EXPECT_GT(refused, 0U);
  EXPECT_LT(refused, 256U);
  const auto killed = disk->clone();
  EXPECT_NE(open_disk(*killed), nullptr);
  ASSERT_OK(image->close());
  expect_sound(*disk);
  EXPECT_NE(open_disk(*disk), nullptr);
}

TEST(JournalData, AHostThatIsFullAfterACrashKeepsIt) {
  CreateOptions options = small_chunks(kSize);
  options.journal_half_size = 256 * kKiB;
  const auto disk = make_disk(options);
  Bytes wanted;
  std::shared_ptr<CrashDisk> after;
  {
    const auto image = open_grown(*disk);
    for (std::uint64_t i = 1; i < 6; ++i) {
      write_all(*image, i * kSmallChunk, pattern(4096, i));
      ASSERT_OK(image->flush());
    }
    ASSERT_GT(journaled(*image), 3U);
    wanted = read_all(*image);
    after = disk->reboot(0);
  }
  const auto full = after->clone();
  after->set_capacity(0);
  OpenOptions read_only = quiet();
  read_only.read_only = true;
  const auto open = Image::open_on(after->open(), quiet());
  EXPECT_CODE(Code::kNoSpace, open);
  EXPECT_NE(open.status().message().find("no space left for data that the journal holds"), std::string::npos);
  expect_sound(*after);
  auto reader = Image::open_on(after->open(), read_only);
  ASSERT_OK(reader);
  EXPECT_EQ(difference(wanted, read_all(**reader)), "");
  after->set_capacity(UINT64_MAX);
  auto again = open_disk(*after);
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(difference(wanted, read_all(*again)), "");
  // The half of the journal that means nothing is space, too.
  full->set_capacity(*full->open()->allocated());
  again = open_disk(*full);
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(difference(wanted, read_all(*again)), "");
}

// Read-only, extents tell of data that only the journal has, and where it is.
TEST(JournalData, ExtentsOfWhatOnlyTheJournalHas) {
  CreateOptions options = small_chunks(kSize);
  options.journal_half_size = 256 * kKiB;
  const auto disk = make_disk(options);
  std::shared_ptr<CrashDisk> after;
  {
    const auto image = open_grown(*disk);
    write_all(*image, 3 * kSmallChunk + 8192, pattern(4096, 5));
    ASSERT_OK(image->flush());
    ASSERT_EQ(journaled(*image), 1U);
    after = disk->reboot(0);
  }
  OpenOptions read_only = quiet();
  read_only.read_only = true;
  auto image = Image::open_on(after->open(), read_only);
  ASSERT_OK(image);
  auto extent = (*image)->extent(3 * kSmallChunk);
  ASSERT_OK(extent);
  EXPECT_FALSE(extent->data);
  EXPECT_EQ(extent->length, 8192U);
  extent = (*image)->extent(3 * kSmallChunk + 8192);
  ASSERT_OK(extent);
  EXPECT_TRUE(extent->data);
  EXPECT_EQ(extent->length, 4096U);
  Bytes there(4096);
  ASSERT_OK(after->open()->read(extent->file_offset, there));
  EXPECT_EQ(difference(pattern(4096, 5), there), "");
  extent = (*image)->extent(3 * kSmallChunk + 8192 + 1000);
  ASSERT_OK(extent);
  EXPECT_TRUE(extent->data);
  EXPECT_EQ(extent->length, 3096U);
  extent = (*image)->extent(3 * kSmallChunk + 12288);
  ASSERT_OK(extent);
  EXPECT_FALSE(extent->data);
}

// An image of an earlier program has no such data before its first superblock says that it may.
TEST(JournalData, AnImageWithoutTheFeatureGetsItWithASuperblock) {
  const auto disk = disk_with_snapshot();
  const auto file = disk->open();
  std::array<std::byte, format::kPage> bytes;
  ASSERT_OK(file->read(0, bytes));
  const auto header = format::Header::decode(bytes).value();
  for (const std::uint64_t slot : header.superblock_offset) {
    ASSERT_OK(file->read(slot, bytes));
    auto superblock = format::Superblock::decode(bytes, slot, header.uuid, header.geometry());
    ASSERT_OK(superblock);
    superblock->incompat = 0;
    superblock->encode(bytes);
    ASSERT_OK(file->write(slot, bytes));
  }
  ASSERT_OK(file->sync());
  const auto image = open_grown(*disk);
  write_all(*image, kSmallChunk, pattern(4096, 3));
  ASSERT_OK(image->flush());
  EXPECT_EQ(journaled(*image), 0U);
  ASSERT_OK(image->snapshot_rename("s", "t"));
  EXPECT_EQ(image->info().features, std::vector<std::string>{"journal-data"});
  write_all(*image, 2 * kSmallChunk, pattern(4096, 4));
  ASSERT_OK(image->flush());
  EXPECT_EQ(journaled(*image), 1U);
  const Bytes wanted = read_all(*image);
  EXPECT_EQ(difference(wanted, read_all(*open_disk(*disk->reboot(0)))), "");
}

TEST(JournalData, ACloseGivesTheJournalBack) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("image");
  CreateOptions options;
  options.virtual_size = 1 << 30;
  ASSERT_OK(Image::create(path, options));
  auto image = Image::open(path, quiet());
  ASSERT_OK(image);
  for (std::uint64_t i = 0; i < 700; ++i) {
    write_all(**image, i << 20, pattern(4096, i));
    ASSERT_OK((*image)->flush());
  }
  EXPECT_GT(journaled(**image), 600U);
  EXPECT_GT((*image)->info().host_allocated, 7 * kMiB);
  ASSERT_OK((*image)->close());
  EXPECT_LT((*image)->info().host_allocated, 7 * kMiB);  // two of them the journal's
}

TEST(JournaledData, KeepsTheNewestOfEachByte) {
  std::mt19937_64 random(1);
  constexpr std::uint64_t kBytes = 2000;
  Bytes source(1 << 20);
  for (auto& byte : source) byte = static_cast<std::byte>(random());
  Storage storage(std::make_unique<MemoryFile>(source));
  JournaledData data;
  std::vector<std::optional<std::uint64_t>> model(kBytes);  // where each byte comes from
  for (int step = 0; step < 2000; ++step) {
    const std::uint64_t offset = random() % kBytes;
    const std::uint64_t length = 1 + random() % std::min<std::uint64_t>(200, kBytes - offset);
    if (random() % 4 == 0) {
      data.drop(offset, length);
      for (std::uint64_t i = 0; i < length; ++i) model[offset + i].reset();
    } else {
      const std::uint64_t from = random() % (source.size() - length);
      data.put(offset, length, from);
      for (std::uint64_t i = 0; i < length; ++i) model[offset + i] = from + i;
    }
    Bytes out = zeros(kBytes);
    ASSERT_OK(data.read_over(storage, 0, out));
    for (std::uint64_t i = 0; i < kBytes; ++i) {
      ASSERT_EQ(out[i], model[i] ? source[*model[i]] : std::byte{0}) << "step " << step << " byte " << i;
      const auto next = data.next(i);
      if (model[i]) {
        ASSERT_EQ(next.offset, i);
        ASSERT_EQ(next.source, *model[i]);
      } else {
        ASSERT_TRUE(next.length == 0 || next.offset > i);
      }
    }
  }
  data.clear();
  EXPECT_TRUE(data.empty());
  EXPECT_EQ(data.next(0).length, 0U);
}

TEST(RecentWrites, RemembersAFewAndTellsWhenThereWereMore) {
  RecentWrites recent(16384);
  EXPECT_TRUE(recent.empty());
  recent.add(3, 7, 512, 4096);
  recent.add(3, 7, 8192, 100);
  EXPECT_FALSE(recent.empty());
  auto taken = recent.take();
  ASSERT_TRUE(taken);
  ASSERT_EQ(taken->size(), 2U);
  EXPECT_EQ((*taken)[1].offset, 8192U);
  EXPECT_TRUE(recent.empty());
  recent.add(1, 1, 0, 16384);
  recent.add(1, 1, 0, 1);
  EXPECT_FALSE(recent.take());
  EXPECT_TRUE(recent.take());
  recent.forget();
  EXPECT_FALSE(recent.take());
  for (int i = 0; i < 257; ++i) recent.add(1, 1, 0, 1);
  EXPECT_FALSE(recent.take());
  RecentWrites none(0);
  none.add(1, 1, 0, 1);
  EXPECT_FALSE(none.take());
}

TEST(RecentWrites, AReadIsDisturbedByAWriteInTheSameChunkOnly) {
  RecentWrites recent(16384);
  int reads = 0;
  const auto read = [&] { return ++reads > 0; };
  EXPECT_TRUE(recent.undisturbed(1, read));
  {
    const RecentWrites::InFlight in_flight(recent, 1);
    EXPECT_FALSE(recent.undisturbed(1, read));
    EXPECT_TRUE(recent.undisturbed(2, read));
  }
  EXPECT_EQ(reads, 2);
  EXPECT_TRUE(recent.undisturbed(1, [&] {
    if (++reads == 3) const RecentWrites::InFlight in_flight(recent, 0, 1);  // begun and done meanwhile
    return true;
  }));
  EXPECT_EQ(reads, 4);
}

}  // namespace
}  // namespace fvd::test
