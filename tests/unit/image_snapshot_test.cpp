// The snapshot tree: create, goto, rename, delete, hold, description.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 6 * kSmallChunk;

class ImageSnapshot : public ::testing::Test {
 protected:
  void reopen() {
    ASSERT_OK(image_->close());
    image_.reset();
    expect_sound(*disk_);
    image_ = open_disk(*disk_);
    ASSERT_NE(image_, nullptr);
  }
  void fill(std::uint64_t seed) { write_all(*image_, 0, pattern(kSize, seed)); }
  std::string parent_of(std::string_view name) {
    const auto info = image_->find_snapshot(name);
    if (!info) return "?";
    return name_of(info->parent);
  }
  std::string current_parent() { return name_of(image_->current_parent()); }
  std::string name_of(SnapshotId id) {
    if (id == 0) return "-";
    const auto info = image_->find_snapshot(id);
    return info ? info->name : "?";
  }
  void expect_snapshot(std::string_view name, std::uint64_t seed) {
    EXPECT_EQ(difference(pattern(kSize, seed), read_snapshot(*image_, name)), "") << name;
  }
  void expect_current(std::uint64_t seed) { EXPECT_EQ(difference(pattern(kSize, seed), read_all(*image_)), ""); }
  // s1 -> s2 -> s3 -> s4 -> current-state, each filled with its number, current-state with 5.
  void chain() {
    for (std::uint64_t i = 1; i <= 4; ++i) {
      fill(i);
      take(*image_, "s" + std::to_string(i));
    }
    fill(5);
  }

  std::shared_ptr<CrashDisk> disk_ = make_disk(small_chunks(kSize));
  std::unique_ptr<Image> image_ = open_disk(*disk_);
};

TEST_F(ImageSnapshot, TheStoryThatTheFormatWasDesignedFor) {
  chain();
  ASSERT_OK(image_->snapshot_goto("s2"));
  expect_current(2);
  fill(6);
  take(*image_, "s5");
  ASSERT_OK(image_->snapshot_goto("s4"));
  reopen();
  EXPECT_EQ(parent_of("s1"), "-");
  EXPECT_EQ(parent_of("s2"), "s1");
  EXPECT_EQ(parent_of("s3"), "s2");
  EXPECT_EQ(parent_of("s4"), "s3");
  EXPECT_EQ(parent_of("s5"), "s2");
  EXPECT_EQ(current_parent(), "s4");
  for (std::uint64_t i = 1; i <= 4; ++i) expect_snapshot("s" + std::to_string(i), i);
  expect_snapshot("s5", 6);
  expect_current(4);
}

TEST_F(ImageSnapshot, IsDurableWhenItReturns) {
  fill(1);
  take(*image_, "s1");
  const auto survivor = disk_->reboot(0);
  const auto image = open_disk(*survivor);
  EXPECT_EQ(difference(pattern(kSize, 1), read_snapshot(*image, "s1")), "");
  EXPECT_EQ(difference(pattern(kSize, 1), read_all(*image)), "");
  expect_sound(*survivor);
}

TEST_F(ImageSnapshot, OfAnEmptyDisk) {
  take(*image_, "empty");
  fill(1);
  reopen();
  EXPECT_EQ(read_snapshot(*image_, "empty"), zeros(kSize));
  ASSERT_OK(image_->snapshot_goto("empty"));
  EXPECT_EQ(read_all(*image_), zeros(kSize));
  EXPECT_EQ(image_->allocated(), 0U);
}

TEST_F(ImageSnapshot, InfoTellsWhatWasTaken) {
  fill(1);
  const auto id = image_->snapshot_create("first", "before the upgrade");
  ASSERT_OK(id);
  const auto second = image_->snapshot_create("second");
  ASSERT_OK(second);
  reopen();
  const auto info = image_->find_snapshot("first");
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->id, *id);
  EXPECT_EQ(info->description, "before the upgrade");
  EXPECT_EQ(info->virtual_size, kSize);
  EXPECT_EQ(info->allocated, kSize);
  EXPECT_GT(info->created_seconds, 1500000000);
  EXPECT_LT(info->created_nanoseconds, 1000000000U);
  EXPECT_FALSE(info->held);
  EXPECT_EQ(image_->find_snapshot(*second)->name, "second");
  EXPECT_EQ(image_->snapshots().size(), 2U);
  EXPECT_EQ(image_->snapshots()[0].name, "first");
  EXPECT_FALSE(image_->find_snapshot("third").has_value());
  EXPECT_FALSE(image_->find_snapshot(SnapshotId{99}).has_value());
}

TEST_F(ImageSnapshot, RefusesNames) {
  const auto refused = [this](std::string_view name, Code code) {
    SCOPED_TRACE(name);
    EXPECT_CODE(code, image_->snapshot_create(name));
    EXPECT_CODE(code, image_->snapshot_rename("there", name));
  };
  take(*image_, "there");
  take(*image_, "other");
  refused("", Code::kInvalid);
  refused(".", Code::kInvalid);
  refused("..", Code::kInvalid);
  refused("a/b", Code::kInvalid);
  refused("tab\t", Code::kInvalid);
  refused(std::string_view("nul\0inside", 10), Code::kInvalid);
  refused("del\x7f", Code::kInvalid);
  refused("\xff\xfe", Code::kInvalid);
  refused("\xc0\xaf", Code::kInvalid);      // overlong
  refused("\xed\xa0\x80", Code::kInvalid);  // surrogate
  refused("current-state", Code::kExists);
  refused("other", Code::kExists);
  refused(std::string(256, 'a'), Code::kNameTooLong);
  EXPECT_EQ(image_->snapshots().size(), 2U);
  EXPECT_OK(image_->snapshot_create(std::string(255, 'a')));
  EXPECT_OK(image_->snapshot_create("späße 東京 🐟"));
  EXPECT_OK(image_->snapshot_create(" "));
  reopen();
  EXPECT_TRUE(image_->find_snapshot("späße 東京 🐟").has_value());
  EXPECT_TRUE(image_->find_snapshot(std::string(255, 'a')).has_value());
}

TEST_F(ImageSnapshot, UnknownNamesAreNotFound) {
  EXPECT_CODE(Code::kNotFound, image_->snapshot_goto("none"));
  EXPECT_CODE(Code::kNotFound, image_->snapshot_delete("none"));
  EXPECT_CODE(Code::kNotFound, image_->snapshot_rename("none", "new"));
  EXPECT_CODE(Code::kNotFound, image_->snapshot_set_description("none", "x"));
  EXPECT_CODE(Code::kNotFound, image_->snapshot_set_hold("none", true));
  EXPECT_CODE(Code::kNotFound, image_->open_snapshot(7));
  EXPECT_CODE(Code::kNotFound, image_->snapshot_exclusive(7));
  EXPECT_CODE(Code::kNotFound, image_->copy_range(7, 0, 0, 512));
}

TEST_F(ImageSnapshot, IdsAreNeverReused) {
  const SnapshotId first = take(*image_, "a");
  ASSERT_OK(image_->snapshot_delete("a"));
  reopen();
  EXPECT_GT(take(*image_, "a"), first);
}

TEST_F(ImageSnapshot, RenameKeepsEverythingElse) {
  chain();
  const auto before = *image_->find_snapshot("s2");
  ASSERT_OK(image_->snapshot_rename("s2", "golden"));
  reopen();
  EXPECT_FALSE(image_->find_snapshot("s2").has_value());
  const auto after = *image_->find_snapshot("golden");
  EXPECT_EQ(after.id, before.id);
  EXPECT_EQ(after.created_nanoseconds, before.created_nanoseconds);
  EXPECT_EQ(parent_of("s3"), "golden");
  expect_snapshot("golden", 2);
}

TEST_F(ImageSnapshot, GotoTouchesNoSnapshot) {
  chain();
  for (const std::uint64_t i : {1, 4, 2, 2, 3}) {
    ASSERT_OK(image_->snapshot_goto("s" + std::to_string(i)));
    expect_current(i);
    EXPECT_EQ(current_parent(), "s" + std::to_string(i));
    fill(50 + i);
  }
  for (std::uint64_t i = 1; i <= 4; ++i) expect_snapshot("s" + std::to_string(i), i);
  reopen();
  for (std::uint64_t i = 1; i <= 4; ++i) expect_snapshot("s" + std::to_string(i), i);
  expect_current(53);
}

TEST_F(ImageSnapshot, GotoGivesUpWhatWasWrittenSince) {
  chain();
  const std::uint64_t before = image_->info().chunks_used;
  for (int round = 0; round < 20; ++round) {
    fill(60);
    ASSERT_OK(image_->snapshot_goto("s4"));
  }
  ASSERT_OK(image_->flush());
  EXPECT_LE(image_->info().chunks_used, before + 4) << "chunks of a front given up must come back";
}

TEST_F(ImageSnapshot, DeleteLeafMiddleAndRoot) {
  chain();
  ASSERT_OK(image_->snapshot_goto("s2"));
  fill(6);
  take(*image_, "s5");
  ASSERT_OK(image_->snapshot_delete("s4"));  // a leaf
  EXPECT_EQ(parent_of("s5"), "s2");
  ASSERT_OK(image_->snapshot_delete("s2"));  // in the middle, with two children
  EXPECT_EQ(parent_of("s3"), "s1");
  EXPECT_EQ(parent_of("s5"), "s1");
  ASSERT_OK(image_->snapshot_delete("s1"));  // the root
  EXPECT_EQ(parent_of("s3"), "-");
  EXPECT_EQ(parent_of("s5"), "-");
  expect_snapshot("s3", 3);
  expect_snapshot("s5", 6);
  reopen();
  expect_snapshot("s3", 3);
  expect_snapshot("s5", 6);
  expect_current(6);
  EXPECT_EQ(image_->snapshots().size(), 2U);
}

TEST_F(ImageSnapshot, DeleteUnderCurrentState) {
  chain();
  ASSERT_OK(image_->snapshot_goto("s4"));
  write_all(*image_, 5000, pattern(100, 9));
  ASSERT_OK(image_->snapshot_delete("s4"));
  EXPECT_EQ(current_parent(), "s3");
  Bytes wanted = pattern(kSize, 4);
  const Bytes written = pattern(100, 9);
  std::copy(written.begin(), written.end(), wanted.begin() + 5000);
  EXPECT_EQ(difference(wanted, read_all(*image_)), "");
  for (const auto* name : {"s3", "s2", "s1"}) ASSERT_OK(image_->snapshot_delete(name));
  EXPECT_EQ(current_parent(), "-");
  EXPECT_EQ(difference(wanted, read_all(*image_)), "");
  write_all(*image_, 70000, pattern(100, 9));
  std::copy(written.begin(), written.end(), wanted.begin() + 70000);
  reopen();
  EXPECT_EQ(difference(wanted, read_all(*image_)), "");
}

TEST_F(ImageSnapshot, DeleteInEveryOrderGivesEverythingBack) {
  std::array<int, 4> order{1, 2, 3, 4};
  do {
    CreateOptions options = small_chunks(kSize);
    options.journal_half_size = 16384;
    const auto disk = make_disk(options);
    const auto image = open_disk(*disk);
    for (std::uint64_t i = 1; i <= 4; ++i) {
      write_all(*image, i * 20000, pattern(60000, i));
      take(*image, std::to_string(i));
    }
    const Bytes content = read_all(*image);
    for (const int i : order) {
      ASSERT_OK(image->snapshot_delete(std::to_string(i)));
      ASSERT_EQ(difference(content, read_all(*image)), "");
    }
    ASSERT_OK(image->discard(0, kSize));
    ASSERT_OK(image->close());
    expect_sound(*disk);
    EXPECT_LT(*disk->open()->allocated(), 2 * kSmallChunk);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(ImageSnapshot, DeletedAndReusedChunksReadAsZeros) {
  chain();
  for (const auto* name : {"s1", "s2", "s3", "s4"}) ASSERT_OK(image_->snapshot_delete(name));
  ASSERT_OK(image_->discard(0, kSize));
  ASSERT_OK(image_->flush());
  ASSERT_OK(image_->resize(40 * kSmallChunk, false));
  for (std::uint64_t chunk = 0; chunk < 40; ++chunk) write_all(*image_, chunk * kSmallChunk + 777, pattern(1, 1));
  const Bytes content = read_all(*image_);
  EXPECT_EQ(std::count(content.begin(), content.end(), std::byte{0}), std::ptrdiff_t{40 * kSmallChunk - 40});
  reopen();
  EXPECT_EQ(difference(content, read_all(*image_)), "");
}

TEST_F(ImageSnapshot, DeletePunchesWhatNobodyUses) {
  chain();
  ASSERT_OK(image_->flush());
  const std::uint64_t before = *disk_->open()->allocated();
  for (const auto* name : {"s2", "s3"}) ASSERT_OK(image_->snapshot_delete(name));
  reopen();
  EXPECT_LE(*disk_->open()->allocated() + 2 * kSize - kSmallChunk, before);
}

TEST_F(ImageSnapshot, HoldProtectsUntilReleased) {
  chain();
  ASSERT_OK(image_->snapshot_set_hold("s2", true));
  EXPECT_CODE(Code::kBusy, image_->snapshot_delete("s2"));
  reopen();
  EXPECT_TRUE(image_->find_snapshot("s2")->held);
  EXPECT_CODE(Code::kBusy, image_->snapshot_delete("s2"));
  expect_snapshot("s2", 2);
  EXPECT_OK(image_->snapshot_goto("s2"));
  EXPECT_OK(image_->snapshot_rename("s2", "renamed"));
  ASSERT_OK(image_->snapshot_set_hold("renamed", false));
  EXPECT_OK(image_->snapshot_delete("renamed"));
}

TEST_F(ImageSnapshot, AnOpenReaderProtectsAndKeepsReading) {
  chain();
  auto reader = image_->open_snapshot(image_->find_snapshot("s4")->id);
  ASSERT_OK(reader);
  EXPECT_CODE(Code::kBusy, image_->snapshot_delete("s4"));
  ASSERT_OK(image_->snapshot_goto("s4"));
  ASSERT_OK(image_->snapshot_rename("s4", "renamed"));
  fill(7);
  ASSERT_OK(image_->snapshot_goto("s1"));
  EXPECT_EQ(difference(pattern(kSize, 4), read_all(**reader)), "");
  reader = Status();
  EXPECT_OK(image_->snapshot_delete("renamed"));
}

TEST_F(ImageSnapshot, DescriptionsUpToTheirLimit) {
  take(*image_, "s");
  ASSERT_OK(image_->snapshot_set_description("s", std::string(kMaxDescriptionBytes, 'd')));
  EXPECT_CODE(Code::kInvalid, image_->snapshot_set_description("s", std::string(kMaxDescriptionBytes + 1, 'd')));
  EXPECT_CODE(Code::kInvalid, image_->snapshot_create("t", std::string(kMaxDescriptionBytes + 1, 'd')));
  reopen();
  EXPECT_EQ(image_->find_snapshot("s")->description, std::string(kMaxDescriptionBytes, 'd'));
  ASSERT_OK(image_->snapshot_set_description("s", ""));
  reopen();
  EXPECT_EQ(image_->find_snapshot("s")->description, "");
}

TEST_F(ImageSnapshot, EverySnapshotReadsWhileCurrentStateIsWritten) {
  std::vector<std::shared_ptr<StateReader>> readers;
  for (std::uint64_t i = 0; i < 20; ++i) {
    fill(i);
    const auto reader = image_->open_snapshot(take(*image_, std::to_string(i)));
    ASSERT_OK(reader);
    readers.push_back(*reader);
    write_all(*image_, i * 1000, pattern(5000, 100 + i));
  }
  for (std::uint64_t i = 0; i < 20; ++i) EXPECT_EQ(difference(pattern(kSize, i), read_all(*readers[i])), "") << i;
}

TEST_F(ImageSnapshot, ManySnapshots) {
  for (std::uint64_t i = 0; i < 1000; ++i) {
    write_all(*image_, i % 6 * kSmallChunk + i % 16 * 4096, pattern(4096, i));
    take(*image_, "n" + std::to_string(i));
  }
  const Bytes content = read_all(*image_);
  reopen();
  EXPECT_EQ(image_->snapshots().size(), 1000U);
  EXPECT_EQ(difference(content, read_snapshot(*image_, "n999")), "");
  const Bytes early = read_snapshot(*image_, "n16");
  for (std::uint64_t i = 0; i < 1000; i += 2) ASSERT_OK(image_->snapshot_delete("n" + std::to_string(i)));
  ASSERT_OK(image_->snapshot_goto("n17"));
  reopen();
  EXPECT_EQ(image_->snapshots().size(), 500U);
  EXPECT_EQ(difference(content, read_snapshot(*image_, "n999")), "");
}

TEST_F(ImageSnapshot, OfALongDirectoryOnlyWhatIsNewIsWritten) {
  const auto written = [&] { return metric(*image_, "fvd_write_bytes_total", "directory"); };
  for (int i = 0; i < 400; ++i) take(*image_, "n" + std::to_string(i));
  reopen();
  const std::uint64_t whole = 400 * std::uint64_t{72};
  take(*image_, "first");  // where nothing is known to be yet
  EXPECT_GE(written(), whole);
  std::uint64_t before = written();
  for (int i = 0; i < 200; ++i) {
    take(*image_, "more" + std::to_string(i));
    ASSERT_LE(written() - before, 3 * 4096U) << i;
    before = written();
    if (i % 3 == 0) continue;
    ASSERT_OK(image_->snapshot_delete("more" + std::to_string(i)));
    ASSERT_LE(written() - before, 3 * 4096U) << i;
    before = written();
  }
  ASSERT_OK(image_->snapshot_set_description("n0", "all that follows moves"));
  EXPECT_GE(written(), before + whole);
  reopen();
  EXPECT_EQ(image_->snapshots().size(), 468U);
}

}  // namespace
}  // namespace fvd::test
