// Repair mends all or nothing, twice is once, and a power cut, a failing or a full disk at any of its I/Os leaves the
// image as good as before or mended. And what is provably lost is never written over.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "base/crc32c.h"
#include "base/endian.h"
#include "check/check.h"
#include "corrupt/corpus.h"
#include "format/journal.h"

namespace fvd::test {
namespace {

using format::kPage;

SparseBytes sparse(const Bytes& bytes) {
  SparseBytes out;
  out.write(0, bytes);
  return out;
}

struct Ailment {
  const char* name;
  bool needs_older = false;
  std::function<void(SparseBytes&, const Anatomy&)> inflict;
};

void put(SparseBytes& bytes, const Anatomy& image, const std::string& field, std::uint64_t value, bool sealed) {
  for (const Field& f : fields_of(image)) {
    if (f.name != field) continue;
    for (const Patch& p : damage(image, f, value, sealed)) bytes.write(p.offset, p.data);
    return;
  }
  ADD_FAILURE() << "no field " << field;
}

std::uint64_t older_slot(const Anatomy& image) {
  const auto& slots = image.header.superblock_offset;
  return image.superblock.self_offset == slots[0] ? slots[1] : slots[0];
}

// "rich", gone back to snapshot b since, with a journal of two batches: what the older superblock refers to is all
// there.
const Bytes& gone_back() {
  static const Bytes bytes = [] {
    const auto disk = CrashDisk::make(sparse(corpus()[0].bytes));
    auto image = open_disk(*disk);
    EXPECT_OK(image->snapshot_goto("b"));
    for (std::uint64_t i = 0; i < 2; ++i) {
      write_all(*image, i * kSmallChunk, pattern(4096, 30 + i));
      EXPECT_OK(image->flush());
    }
    const auto killed = disk->clone();
    Bytes out(killed->open()->size().value());
    EXPECT_OK(killed->open()->read(0, out));
    return out;
  }();
  return bytes;
}

// What a check finds, but for how long the file is.
std::string findings_of(CrashDisk& disk) {
  std::string text = check_findings(*disk.open());
  for (std::size_t at = 0; (at = text.find("; the file holds ", at)) != std::string::npos;) {
    text.erase(at, text.find(')', at) - at);
  }
  return text;
}

// What repair can do something about, each on the image "rich", or on gone_back() where the older superblock is needed.
const std::vector<Ailment>& ailments() {
  static const std::vector<Ailment> all = {
      {"CountTooHigh", false,
       [](SparseBytes& b, const Anatomy& a) { put(b, a, "reference counts: count of chunk 1", 9, true); }},
      {"CountTooLow", false,
       [](SparseBytes& b, const Anatomy& a) { put(b, a, "reference counts: count of chunk 1", 0, true); }},
      {"CountsUnreadable", false,
       [](SparseBytes& b, const Anatomy& a) { put(b, a, "reference counts: magic byte 0", 0, false); }},
      {"CountsElsewhere", false,
       [](SparseBytes& b, const Anatomy& a) { put(b, a, "newest superblock: counts chunk", 0x3FFFFFFE, true); }},
      {"SizeInDirectory", false,
       [](SparseBytes& b, const Anatomy& a) { put(b, a, "directory: record of b, mapped_bytes", kSmallChunk, true); }},
      {"SizeAndCount", false,
       [](SparseBytes& b, const Anatomy& a) {
         put(b, a, "directory: record of b, mapped_bytes", kSmallChunk, true);
         put(b, a, "reference counts: magic byte 0", 0, false);
       }},
      {"OlderSlot", false,
       [](SparseBytes& b, const Anatomy& a) { put(b, a, "older superblock: virtual_size", 0, false); }},
      {"NewestSlot", true,
       [](SparseBytes& b, const Anatomy& a) { put(b, a, "newest superblock: virtual_size", 512, false); }},
      {"NewestSlotBlank", true,
       [](SparseBytes& b, const Anatomy& a) { b.write(a.superblock.self_offset, Bytes(kPage)); }},
      {"NewestSlotWrongUnderItsCrc", true,
       [](SparseBytes& b, const Anatomy& a) { put(b, a, "newest superblock: next_snapshot_id", 0, true); }},
  };
  return all;
}

std::string meaning_of(CrashDisk& disk) {
  OpenOptions options = quiet();
  options.read_only = true;
  auto image = Image::open_on(disk.open(), options);
  if (!image) return "refused: " + image.status().message();
  std::string text = std::to_string(crc32c(read_all(**image)));
  for (const SnapshotInfo& s : (*image)->snapshots()) {
    text += " " + s.name + " " + std::to_string(crc32c(read_snapshot(**image, s.name)));
  }
  return text;
}

class Repair : public ::testing::TestWithParam<std::size_t> {
 protected:
  const Ailment& ailment() { return ailments()[GetParam()]; }
  RepairOptions options() { return {.older_superblock = ailment().needs_older}; }
  std::shared_ptr<CrashDisk> ill_disk() {
    const Bytes& bytes = ailment().needs_older ? gone_back() : corpus()[0].bytes;
    SparseBytes ill = sparse(bytes);
    ailment().inflict(ill, Anatomy(bytes));
    return CrashDisk::make(std::move(ill));
  }
};

TEST_P(Repair, MendsOnceAndForAll) {
  const auto disk = ill_disk();
  const std::string findings = check_findings(*disk->open());
  ASSERT_NE(findings, "");
  const std::string meaning = meaning_of(*disk);
  if (ailment().needs_older) {
    const auto refused = repair_image(*disk->open(), {});
    ASSERT_OK(refused);
    EXPECT_NE(refused->refused.find("older"), std::string::npos) << refused->refused;
    EXPECT_EQ(check_findings(*disk->open()), findings) << "a refusal changes nothing";
  }
  const auto report = repair_image(*disk->open(), options());
  ASSERT_OK(report);
  EXPECT_EQ(report->refused, "");
  EXPECT_FALSE(report->done.empty());
  EXPECT_EQ(report->after.exit_status(), 0);
  EXPECT_EQ(check_findings(*disk->open()), "");
  if (meaning.find("refused") == std::string::npos) {
    EXPECT_EQ(meaning_of(*disk), meaning);
  }
  const auto again = repair_image(*disk->open(), options());
  ASSERT_OK(again);
  EXPECT_TRUE(again->done.empty()) << "nothing is left to do";
  auto image = open_disk(*disk);
  ASSERT_NE(image, nullptr);
  write_all(*image, 0, pattern(9000, 1));
  take(*image, "after");
  EXPECT_OK(image->close());
  expect_sound(*disk);
}

TEST_P(Repair, CutAnywhereItIsAsBeforeOrMended) {
  const std::string findings = findings_of(*ill_disk());
  const std::string meaning = meaning_of(*ill_disk());
  std::uint64_t cuts = 0;
  for (std::uint64_t at = 1;; ++at) {
    SCOPED_TRACE("power cut at I/O " + std::to_string(at));
    const auto disk = ill_disk();
    disk->arm({.kind = Fault::Kind::kCut, .at = at});
    const auto report = repair_image(*disk->open(), options());
    const bool survived = !disk->is_cut();
    ASSERT_EQ(report.is_ok(), survived);
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      const auto after = disk->reboot(seed < 4 ? seed : at * 64 + seed);
      const std::string now = findings_of(*after);
      if (survived) {
        ASSERT_EQ(now, "");
      }
      if (now != "" && !ailment().needs_older) {
        ASSERT_EQ(now, findings) << "seed " << seed;
      }
      if (meaning.find("refused") == std::string::npos) {
        ASSERT_EQ(meaning_of(*after), meaning) << "seed " << seed;
      }
      const auto again = repair_image(*after->open(), options());
      ASSERT_OK(again);
      ASSERT_EQ(check_findings(*after->open()), "") << "seed " << seed;
      ++cuts;
    }
    if (survived) break;
  }
  std::cout << "[     cuts ] " << cuts << "\n";
}

TEST_P(Repair, AFailingOrFullDiskMakesNothingWorse) {
  const std::string meaning = meaning_of(*ill_disk());
  for (const Fault::Kind kind : {Fault::Kind::kError, Fault::Kind::kShortWrite, Fault::Kind::kNoSpace}) {
    for (std::uint64_t at = 1;; ++at) {
      SCOPED_TRACE("fault " + std::to_string(static_cast<int>(kind)) + " at I/O " + std::to_string(at));
      const auto disk = ill_disk();
      disk->arm({.kind = kind, .at = at});
      (void)repair_image(*disk->open(), options()).is_ok();
      const bool hit = disk->fault_hit();
      const bool over = at > disk->operations();
      disk->disarm();
      if (hit && meaning.find("refused") == std::string::npos) {
        ASSERT_EQ(meaning_of(*disk), meaning);
      }
      // A write that the host broke off within a sector is damage that only the user can judge.
      const auto again = repair_image(*disk->open(), {.older_superblock = true});
      ASSERT_OK(again);
      ASSERT_EQ(check_findings(*disk->open()), "");
      if (over) break;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ailments, Repair, ::testing::Range<std::size_t>(0, 10),
                         [](const auto& one) { return ailments()[one.param].name; });

TEST(RepairTest, WhatCannotBeDerivedIsLeftAlone) {
  for (const char* field : {"directory: record of a, created", "table of b: entry 0", "journal batch 1: epoch"}) {
    const Anatomy anatomy(corpus()[0].bytes);
    SparseBytes bytes = sparse(corpus()[0].bytes);
    put(bytes, anatomy, field, 12345, false);
    const auto disk = CrashDisk::make(bytes);
    const auto report = repair_image(*disk->open(), {});
    ASSERT_OK(report);
    EXPECT_NE(report->refused, "") << field;
    EXPECT_TRUE(report->done.empty()) << field;
    EXPECT_EQ(disk->operations(), 0U) << field << ": nothing was written";
  }
}

TEST(RepairTest, ANewestThatRefersToDamageGivesWayToTheOlder) {
  // The newest superblock's own table is damaged, the older one has another.
  const auto disk = CrashDisk::make(sparse(corpus()[1].bytes));
  {
    auto image = open_disk(*disk);
    write_all(*image, 0, pattern(kSmallChunk, 3));
    EXPECT_OK(image->close());
  }
  const auto file = disk->open();
  Bytes bytes(file->size().value());
  EXPECT_OK(file->read(0, bytes));
  const Anatomy anatomy(bytes);
  std::byte one{0x55};
  EXPECT_OK(file->write(anatomy.at(anatomy.superblock.table) + 30, std::span(&one, 1)));
  EXPECT_FALSE(repair_image(*file, {})->refused.empty());
  const auto report = repair_image(*file, {.older_superblock = true});
  ASSERT_OK(report);
  if (report->refused.empty()) {
    EXPECT_EQ(check_findings(*file), "");
  }
  EXPECT_EQ(report->refused.empty(), report->after.exit_status() == 0);
}

// An epoch that a second batch belongs to had its superblock durable.
TEST(LossTest, ANewerSuperblockThatIsGoneIsNoticedAndNotWrittenOver) {
  const auto disk = make_disk(small_chunks(24 * kSmallChunk));
  auto image = open_disk(*disk);
  write_all(*image, 0, pattern(kSmallChunk, 1));
  EXPECT_OK(image->flush());
  const auto file = disk->open();
  Bytes slot(kPage);
  const std::uint64_t second = 2 * std::uint64_t{kPage};
  EXPECT_OK(file->read(kPage, slot));
  take(*image, "a");
  for (std::uint64_t i = 1; i < 4; ++i) {
    write_all(*image, i * kSmallChunk, pattern(kSmallChunk, i));
    EXPECT_OK(image->flush());
  }
  const auto killed = disk->clone();
  Bytes bytes(killed->open()->size().value());
  EXPECT_OK(killed->open()->read(0, bytes));
  const Anatomy anatomy(bytes);
  ASSERT_GE(anatomy.batches.size(), 2U);
  // The write of the newest superblock is lost: its slot is as it was.
  const std::uint64_t newest = anatomy.superblock.self_offset;
  ASSERT_TRUE(newest == kPage || newest == second);
  EXPECT_OK(killed->open()->write(newest, newest == kPage ? slot : Bytes(kPage)));

  EXPECT_NE(check_findings(*killed->open()).find("newer"), std::string::npos) << check_findings(*killed->open());
  EXPECT_CODE(Code::kCorrupt, Image::open_on(killed->open(), quiet()));
  OpenOptions read_only = quiet();
  read_only.read_only = true;
  EXPECT_OK(Image::open_on(killed->open(), read_only));
  EXPECT_NE(repair_image(*killed->open(), {})->refused, "");
  const auto report = repair_image(*killed->open(), {.older_superblock = true});
  ASSERT_OK(report);
  EXPECT_EQ(report->refused, "");
  expect_sound(*killed);
  ASSERT_NE(open_disk(*killed), nullptr);
}

TEST(LossTest, ADamagedBatchBeforeAWholeOneIsNoticedAndNotWrittenOver) {
  const Anatomy anatomy(corpus()[0].bytes);
  ASSERT_GE(anatomy.batches.size(), 3U);
  for (std::size_t i = 0; i < anatomy.batches.size(); ++i) {
    for (const std::uint64_t offset : {0, 4, 8, 16, 24, 32, 40, 70}) {
      SparseBytes bytes = sparse(corpus()[0].bytes);
      const std::uint64_t at = anatomy.batches[i] + offset;
      const std::byte wrong = corpus()[0].bytes[at] ^ std::byte{1};
      bytes.write(at, std::span(&wrong, 1));
      const auto disk = CrashDisk::make(bytes);
      const bool last = i + 1 == anatomy.batches.size();
      EXPECT_EQ(check_findings(*disk->open()).empty(), last) << "batch " << i + 1 << " byte " << offset;
      EXPECT_EQ(Image::open_on(disk->open(), quiet()).is_ok(), last) << "batch " << i + 1 << " byte " << offset;
    }
  }
}

TEST(LossTest, ANewerSuperblockThatIsWrongUnderItsCrcIsNotWrittenOver) {
  const Anatomy anatomy(gone_back());
  SparseBytes bytes = sparse(gone_back());
  put(bytes, anatomy, "newest superblock: next_snapshot_id", 0, true);
  const auto disk = CrashDisk::make(bytes);
  EXPECT_CODE(Code::kCorrupt, Image::open_on(disk->open(), quiet()));
  OpenOptions read_only = quiet();
  read_only.read_only = true;
  EXPECT_OK(Image::open_on(disk->open(), read_only));
}

// The disk of a process that was killed just now, with the newest superblock damaged.
std::shared_ptr<CrashDisk> without_newest(const CrashDisk& disk) {
  auto killed = disk.clone();
  const auto file = killed->open();
  Bytes bytes(file->size().value());
  EXPECT_OK(file->read(0, bytes));
  const Anatomy anatomy(bytes);
  SparseBytes ill = sparse(bytes);
  put(ill, anatomy, "newest superblock: virtual_size", 512, false);
  return CrashDisk::make(std::move(ill));
}

// A directory of several pages, of which an operation writes some over the last but one.
class OlderSuperblock : public ::testing::Test {
 protected:
  OlderSuperblock() : disk(make_disk(small_chunks(24 * kSmallChunk))), image(open_disk(*disk)) {
    for (std::uint64_t i = 0; i < 4; ++i) {
      write_all(*image, i * kSmallChunk, pattern(kSmallChunk, i + 1));
      EXPECT_OK(image->snapshot_create("s" + std::to_string(i), std::string(3000, 'd')));
    }
  }
  // Current-state has a base table that is no snapshot's.
  void write_base_table() {
    write_all(*image, 9 * kSmallChunk, pattern(kSmallChunk, 20));
    EXPECT_OK(image->close());
    image = open_disk(*disk);
  }
  void expect_refused(const Status& done) {
    ASSERT_OK(done);
    const auto ill = without_newest(*disk);
    const std::string findings = check_findings(*ill->open());
    const auto report = repair_image(*ill->open(), {.older_superblock = true});
    ASSERT_OK(report);
    EXPECT_NE(report->refused.find("no better"), std::string::npos) << report->refused;
    EXPECT_EQ(check_findings(*ill->open()), findings) << "a refusal changes nothing";
  }

  std::shared_ptr<CrashDisk> disk;
  std::unique_ptr<Image> image;
};

TEST_F(OlderSuperblock, IsWholeRightAfterAnOperationThatTakesNothingAway) {
  const std::vector<std::pair<const char*, std::function<Status(std::uint64_t)>>> operations = {
      {"create",
       [&](std::uint64_t i) {
         return image->snapshot_create("n" + std::to_string(i), std::string(900, 'n')).status();
       }},
      {"rename", [&](std::uint64_t i) { return image->snapshot_rename("n" + std::to_string(i), std::string(i, 'r')); }},
      {"describe", [&](std::uint64_t i) { return image->snapshot_set_description("s1", std::string(500 * i, 'e')); }},
      {"hold", [&](std::uint64_t i) { return image->snapshot_set_hold("s2", i % 2 == 1); }},
      {"goto", [&](std::uint64_t i) { return image->snapshot_goto(i % 2 == 1 ? "s3" : "s1"); }},
      {"grow", [&](std::uint64_t i) { return image->resize((30 + i) * kSmallChunk, false); }},
  };
  for (std::uint64_t i = 1; i <= 4; ++i) {
    for (const auto& [name, operation] : operations) {
      SCOPED_TRACE(name + std::to_string(i));
      const std::string before = meaning_of(*disk->clone());
      ASSERT_OK(operation(i));
      const auto ill = without_newest(*disk);
      ASSERT_NE(repair_image(*ill->open(), {})->refused, "");
      const auto report = repair_image(*ill->open(), {.older_superblock = true});
      ASSERT_OK(report);
      EXPECT_EQ(report->refused, "");
      expect_sound(*ill);
      EXPECT_EQ(meaning_of(*ill), before);
    }
  }
}

TEST_F(OlderSuperblock, IsOfNoUseAfterADeletion) { expect_refused(image->snapshot_delete("s1")); }

TEST_F(OlderSuperblock, IsOfNoUseAfterACreateOverABaseTableOfItsOwn) {
  write_base_table();
  expect_refused(image->snapshot_create("new", "").status());
}

TEST_F(OlderSuperblock, IsOfNoUseAfterAGotoFromABaseTableOfItsOwn) {
  write_base_table();
  expect_refused(image->snapshot_goto("s1"));
}

// Whichever slot another program left the newest superblock in, the next one goes to the other.
TEST(SlotTest, TheCurrentSuperblockIsNeverWrittenOver) {
  Bytes bytes = corpus()[1].bytes;
  std::swap_ranges(bytes.begin() + 56, bytes.begin() + 64, bytes.begin() + 64);
  store_le(bytes.data() + 16, crc32c(std::span<const std::byte>(bytes).subspan(20, kPage - 20)));
  const Anatomy anatomy(bytes);
  const std::uint64_t newest = anatomy.superblock.self_offset;
  const auto disk = CrashDisk::make(sparse(bytes));
  auto image = open_disk(*disk);
  ASSERT_NE(image, nullptr);
  EXPECT_OK(image->snapshot_rename("a", "z"));
  Bytes slot(kPage);
  EXPECT_OK(disk->open()->read(newest, slot));
  EXPECT_TRUE(std::equal(slot.begin(), slot.end(), bytes.begin() + static_cast<std::ptrdiff_t>(newest)));
  EXPECT_NE(older_slot(anatomy), newest);
}

// A hole that claims to be an object costs no memory.
TEST(HostileTest, AnObjectInAHugeHoleIsRefusedBeforeMemoryIsReserved) {
  const Anatomy anatomy(corpus()[1].bytes);
  for (const char* field : {"newest superblock: base table length", "newest superblock: directory length",
                            "newest superblock: counts length"}) {
    SparseBytes bytes = sparse(corpus()[1].bytes);
    bytes.truncate(1ULL << 42);
    put(bytes, anatomy, field, 1ULL << 41, true);
    const auto disk = CrashDisk::make(bytes);
    SCOPED_TRACE(field);
    EXPECT_CODE(Code::kCorrupt, Image::open_on(disk->open(), quiet()));
    EXPECT_NE(check_findings(*disk->open()), "");
  }
}

}  // namespace
}  // namespace fvd::test
