// Building a snapshot from outside: what it holds, what it leaves alone, what is refused.
#include <gtest/gtest.h>

#include <thread>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 8 * kSmallChunk;

ImportOptions named(std::string name, std::uint64_t size = kSize) {
  ImportOptions options;
  options.name = std::move(name);
  options.virtual_size = size;
  return options;
}

class ImageImport : public ::testing::Test {
 protected:
  ImageImport() : disk(make_disk(small_chunks(kSize))), image(open_disk(*disk)) {}

  std::unique_ptr<SnapshotImport> begin(const ImportOptions& options) const {
    auto import = image->import_snapshot(options);
    EXPECT_OK(import);
    return import ? std::move(*import) : nullptr;
  }
  void close() {
    EXPECT_OK(image->close());
    image.reset();
    expect_sound(*disk);
  }

  std::shared_ptr<CrashDisk> disk;
  std::unique_ptr<Image> image;
};

TEST_F(ImageImport, HoldsWhatItWasGiven) {
  write_all(*image, 0, pattern(kSize, 1));
  const SnapshotId s1 = take(*image, "s1");
  write_all(*image, 4096, pattern(4096, 2));
  ImportOptions options = named("came", kSize - 512);
  options.description = "from elsewhere";
  options.created_seconds = -5;
  options.created_nanoseconds = 999999999;
  options.parent = s1;
  const auto import = begin(options);
  ASSERT_OK(import->write(kSmallChunk - 100, pattern(700, 3)));
  ASSERT_OK(import->write(kSize - 1024, pattern(512, 4)));
  ASSERT_OK(import->write(3 * kSmallChunk, pattern(kSmallChunk, 5)));
  ASSERT_OK(import->discard(3 * kSmallChunk + 1000, 4096));
  EXPECT_FALSE(image->find_snapshot("came").has_value());
  const auto id = import->commit();
  ASSERT_OK(id);

  Bytes wanted(kSize - 512);
  const auto put = [&](std::uint64_t at, const Bytes& data) {
    std::copy(data.begin(), data.end(), wanted.begin() + static_cast<std::ptrdiff_t>(at));
  };
  put(kSmallChunk - 100, pattern(700, 3));
  put(kSize - 1024, pattern(512, 4));
  put(3 * kSmallChunk, pattern(kSmallChunk, 5));
  put(3 * kSmallChunk + 1000, zeros(4096));
  EXPECT_EQ(difference(wanted, read_snapshot(*image, "came")), "");
  const auto info = image->find_snapshot(*id);
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->description, "from elsewhere");
  EXPECT_EQ(info->created_seconds, -5);
  EXPECT_EQ(info->created_nanoseconds, 999999999U);
  EXPECT_EQ(info->parent, s1);
  EXPECT_EQ(image->current_parent(), s1);
  EXPECT_EQ(difference(pattern(4096, 2), read_range(*image, 4096, 4096)), "");
  close();
}

TEST_F(ImageImport, SharesWithItsBaseWhatIsEqual) {
  write_all(*image, 0, pattern(kSize, 1));
  ImportOptions options = named("came");
  options.base = take(*image, "s1");
  const std::uint64_t used = image->info().chunks_used;
  {
    const auto import = begin(options);
    ASSERT_OK(import->write(2 * kSmallChunk + 8192, pattern(4096, 2)));
    EXPECT_EQ(image->info().chunks_used, used + 1);
    ASSERT_OK(import->commit());
  }
  Bytes wanted = pattern(kSize, 1);
  const Bytes block = pattern(4096, 2);
  std::copy(block.begin(), block.end(), wanted.begin() + 2 * kSmallChunk + 8192);
  EXPECT_EQ(difference(wanted, read_snapshot(*image, "came")), "");
  EXPECT_EQ(image->info().chunks_used, used + 2) << "one of data and one for its table";
  ASSERT_OK(image->snapshot_delete("s1"));
  EXPECT_EQ(difference(wanted, read_snapshot(*image, "came")), "");
  close();
}

TEST_F(ImageImport, IsAsLargeAsItIsToBe) {
  write_all(*image, 0, pattern(kSize, 1));
  ImportOptions larger = named("larger", 3 * kSize + 512);
  larger.base = take(*image, "s1");
  {
    const auto import = begin(larger);
    ASSERT_OK(import->write(3 * kSize, pattern(512, 2)));
    EXPECT_CODE(Code::kInvalid, import->write(3 * kSize, pattern(513, 2)));
    EXPECT_CODE(Code::kInvalid, import->discard(3 * kSize + 1024, 0));
    EXPECT_CODE(Code::kInvalid, import->discard(1, UINT64_MAX));
    ASSERT_OK(import->commit());
    EXPECT_CODE(Code::kInvalid, import->commit());
  }
  Bytes wanted = pattern(kSize, 1);
  wanted.resize(3 * kSize);
  const Bytes end = pattern(512, 2);
  wanted.insert(wanted.end(), end.begin(), end.end());
  EXPECT_EQ(difference(wanted, read_snapshot(*image, "larger")), "");

  ImportOptions smaller = named("smaller", kSmallChunk + 1536);
  smaller.base = larger.base;
  ASSERT_OK(begin(smaller)->commit());
  ASSERT_OK(image->snapshot_goto("smaller"));
  ASSERT_OK(image->resize(kSize, false));
  wanted = pattern(kSize, 1);
  std::fill(wanted.begin() + kSmallChunk + 1536, wanted.end(), std::byte{0});
  EXPECT_EQ(difference(wanted, read_all(*image)), "") << "growing shows zeros, not the base";
  close();
}

TEST_F(ImageImport, OverABaseImageItIsZerosAllTheSame) {
  TemporaryDirectory directory;
  const std::string raw = directory.file("base.raw");
  ASSERT_OK(Image::create(raw, small_chunks(kSmallChunk)));  // any bytes will do
  CreateOptions create = small_chunks(kSize);
  create.base_path = raw;
  create.base_format = "raw";
  const std::string path = directory.file("disk.fvd");
  ASSERT_OK(Image::create(path, create));
  auto opened = Image::open(path, quiet());
  ASSERT_OK(opened);
  Image& one = **opened;
  const SnapshotId s1 = take(one, "s1");
  EXPECT_NE(difference(zeros(kSize), read_snapshot(one, "s1")), "");
  for (const bool on_base : {false, true}) {
    ImportOptions options = named(on_base ? "based" : "bare", kSize + kSmallChunk);
    options.base = on_base ? s1 : 0;
    auto import = one.import_snapshot(options);
    ASSERT_OK(import);
    ASSERT_OK((*import)->write(1000, pattern(100, 1)));
    ASSERT_OK((*import)->commit());
    Bytes wanted = on_base ? read_snapshot(one, "s1") : zeros(kSize);
    wanted.resize(kSize + kSmallChunk);
    const Bytes piece = pattern(100, 1);
    std::copy(piece.begin(), piece.end(), wanted.begin() + 1000);
    EXPECT_EQ(difference(wanted, read_snapshot(one, options.name)), "");
  }
  ASSERT_OK(one.close());
}

TEST_F(ImageImport, AbandonedItLeavesNothing) {
  write_all(*image, 0, pattern(kSize, 1));
  ImportOptions options = named("came");
  options.base = take(*image, "s1");
  const std::uint64_t used = image->info().chunks_used;
  {
    const auto import = begin(options);
    ASSERT_OK(import->write(0, pattern(kSize, 2)));
    EXPECT_CODE(Code::kBusy, image->snapshot_delete("s1"));
  }
  EXPECT_EQ(image->info().chunks_used, used);
  EXPECT_EQ(image->snapshots().size(), 1U);
  ASSERT_OK(image->snapshot_delete("s1"));
  close();
}

// It is abandoned by a thread of its own, without waiting for an operation that goes on: what that was lent stays lent.
TEST_F(ImageImport, AbandonedWithinAnOperationItLeavesWhatIsHeldAlone) {
  write_all(*image, 0, pattern(kSize, 1));
  for (int i = 0; i < 8; ++i) ASSERT_OK(image->snapshot_create("s" + std::to_string(i), std::string(4000, 'd')));
  auto import = begin(named("came"));
  ASSERT_OK(import->write(0, pattern(kSize, 2)));
  disk->set_hook([&](DiskOperation operation) {
    if (operation != DiskOperation::kWrite || import == nullptr) return;
    import.reset();
    disk->arm({.kind = Fault::Kind::kShortWrite, .at = 1});
  });
  // Fails within the place of the last directory but one, of which some pages are new.
  EXPECT_CODE(Code::kIo, image->snapshot_set_description("s1", std::string(4000, 'e')));
  disk->set_hook(nullptr);
  disk->disarm();
  ASSERT_OK(image->snapshot_set_description("s7", std::string(4000, 'f')));
  expect_sound(*disk->clone());
  close();
}

TEST_F(ImageImport, RefusesWhatCannotBe) {
  take(*image, "s1");
  EXPECT_CODE(Code::kExists, image->import_snapshot(named("s1")));
  EXPECT_CODE(Code::kExists, image->import_snapshot(named("current-state")));
  EXPECT_CODE(Code::kInvalid, image->import_snapshot(named("a/b")));
  EXPECT_CODE(Code::kInvalid, image->import_snapshot(named("")));
  EXPECT_CODE(Code::kNameTooLong, image->import_snapshot(named(std::string(256, 'x'))));
  EXPECT_CODE(Code::kInvalid, image->import_snapshot(named("x", 0)));
  EXPECT_CODE(Code::kInvalid, image->import_snapshot(named("x", 513)));
  EXPECT_CODE(Code::kInvalid, image->import_snapshot(named("x", 17ULL << 40)));  // too many chunks of 64 KiB
  EXPECT_CODE(Code::kInvalid, image->import_snapshot(named("x", UINT64_MAX - 511)));
  ImportOptions options = named("x");
  options.created_nanoseconds = 1000000000;
  EXPECT_CODE(Code::kInvalid, image->import_snapshot(options));
  options = named("x");
  options.base = 99;
  EXPECT_CODE(Code::kNotFound, image->import_snapshot(options));
  options = named("x");
  options.parent = 99;
  EXPECT_CODE(Code::kNotFound, image->import_snapshot(options));
  options = named("x");
  options.description = std::string(4097, 'x');
  EXPECT_CODE(Code::kInvalid, image->import_snapshot(options));
  // The name may be taken while it is built.
  const auto import = begin(named("late"));
  ASSERT_OK(import->write(0, pattern(4096, 1)));
  take(*image, "late");
  EXPECT_CODE(Code::kExists, import->commit());
  ASSERT_OK(image->snapshot_rename("late", "early"));
  ASSERT_OK(import->commit());
  EXPECT_EQ(difference(pattern(4096, 1), read_snapshot(*image, "late")).find("4096 bytes"), std::string::npos);
  close();
}

TEST_F(ImageImport, ReadOnlyImagesTakeNone) {
  close();
  OpenOptions options = quiet();
  options.read_only = true;
  image = open_disk(*disk, options);
  EXPECT_CODE(Code::kReadOnly, image->import_snapshot(named("x")));
}

TEST_F(ImageImport, RunsBesideWritersAndSnapshots) {
  write_all(*image, 0, pattern(kSize, 1));
  ImportOptions options = named("came");
  options.base = take(*image, "s1");
  const auto import = begin(options);
  std::thread other([&] {
    for (std::uint64_t i = 0; i < 40; ++i) {
      write_all(*image, i % 8 * kSmallChunk + 4096, pattern(4096, 100 + i));
      if (i % 8 == 3) EXPECT_OK(image->flush());
      if (i % 10 == 5) take(*image, "beside" + std::to_string(i));
      if (i % 10 == 9) EXPECT_OK(image->snapshot_delete("beside" + std::to_string(i - 4)));
    }
  });
  for (std::uint64_t i = 0; i < 40; ++i) {
    ASSERT_OK(import->write(i % 8 * kSmallChunk + i * 512, pattern(512, 200 + i)));
  }
  other.join();
  ASSERT_OK(import->commit());
  Bytes wanted = pattern(kSize, 1);
  for (std::uint64_t i = 0; i < 40; ++i) {
    const Bytes piece = pattern(512, 200 + i);
    std::copy(piece.begin(), piece.end(), wanted.begin() + static_cast<std::ptrdiff_t>(i % 8 * kSmallChunk + i * 512));
  }
  EXPECT_EQ(difference(wanted, read_snapshot(*image, "came")), "");
  close();
}

}  // namespace
}  // namespace fvd::test
