// What is held for a full disk costs the host nothing once it is not needed any more. Measured in the host's blocks,
// since storage that is reserved and was never written looks like a hole.
#include <gtest/gtest.h>

#include <array>

#include "image/held_space.h"
#include "io/posix_file.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr format::Geometry kGeometry{16, 12, 1 << 20};

// Has storage for the first half of what it is asked to reserve, once it is full.
class HalfFullFile final : public File {
 public:
  explicit HalfFullFile(std::unique_ptr<File> file) : file_(std::move(file)) {}
  bool full = false;

  Status read(std::uint64_t offset, std::span<std::byte> out) override { return file_->read(offset, out); }
  Status write(std::uint64_t offset, std::span<const std::byte> data) override { return file_->write(offset, data); }
  Status sync() override { return file_->sync(); }
  Status zero(std::uint64_t offset, std::uint64_t length) override { return file_->zero(offset, length); }
  Status reserve(std::uint64_t offset, std::uint64_t length) override {
    Status s = file_->reserve(offset, full ? length / 2 : length);
    return s.is_ok() && full ? Status(Code::kNoSpace, "full") : s;
  }
  Status truncate(std::uint64_t size) override { return file_->truncate(size); }
  [[nodiscard]] Result<std::uint64_t> size() const override { return file_->size(); }
  [[nodiscard]] Result<std::uint64_t> allocated() const override { return file_->allocated(); }
  Result<std::uint64_t> seek_data(std::uint64_t offset, std::uint64_t end) override {
    return file_->seek_data(offset, end);
  }
  Result<std::uint64_t> seek_hole(std::uint64_t offset, std::uint64_t end) override {
    return file_->seek_hole(offset, end);
  }
  [[nodiscard]] bool is_block_device() const override { return false; }
  [[nodiscard]] const std::string& path() const override { return file_->path(); }

 private:
  std::unique_ptr<File> file_;
};

std::uint64_t blocks_of(File& file) {
  EXPECT_OK(file.sync());
  auto bytes = file.allocated();
  EXPECT_OK(bytes);
  return *bytes;
}

class HeldSpaceOnAFile : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = PosixFile::open(directory_.file("file"), {.create = true});
    ASSERT_OK(opened);
    auto half_full = std::make_unique<HalfFullFile>(std::move(*opened));
    file_ = half_full.get();
    storage_ = std::make_unique<Storage>(std::move(half_full));
    ASSERT_OK(file_->reserve(0, kMiB));
    if (*file_->allocated() < kMiB) GTEST_SKIP() << "the file system of /tmp cannot reserve space";
    allocator_ = std::make_unique<ChunkAllocator>(*file_, kGeometry);
    held_ = std::make_unique<HeldSpace>(*storage_, kGeometry, *allocator_);
    before_ = blocks_of(*file_);
  }
  // An object of the length given, in a run that was held for it.
  HeldSpace::Run write_into_held(Structure what, std::uint64_t length) {
    auto run = held_->lend(what, length);
    EXPECT_OK(run);
    EXPECT_OK(storage_->write(what, kGeometry.file_offset(run->first), pattern(length, 1)));
    return *run;
  }
  [[nodiscard]] std::uint64_t taken() const { return blocks_of(*file_) - before_; }

  TemporaryDirectory directory_;
  HalfFullFile* file_ = nullptr;
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<ChunkAllocator> allocator_;
  std::unique_ptr<HeldSpace> held_;
  std::uint64_t before_ = 0;
};

TEST_F(HeldSpaceOnAFile, AnObjectInUseKeepsWhatItNeedsAndNoMore) {
  for (const Structure what : {Structure::kTable, Structure::kRefcounts}) {
    SCOPED_TRACE(static_cast<int>(what));
    const std::uint64_t start = taken();
    ASSERT_OK(held_->hold(what, 5 * kSmallChunk, 1));
    EXPECT_GE(taken(), start + 5 * kSmallChunk);
    const HeldSpace::Run run = write_into_held(what, 5000);
    held_->update();
    (void)held_->release();
    EXPECT_EQ(taken(), start + 8192);
    Bytes seen(5000);
    ASSERT_OK(storage_->read(what, kGeometry.file_offset(run.first), seen));
    EXPECT_EQ(difference(pattern(5000, 1), seen), "");
    EXPECT_TRUE(allocator_->is_used(run.first));
    EXPECT_FALSE(allocator_->is_used(run.first + 1));
  }
}

TEST_F(HeldSpaceOnAFile, ATableKeepsItsRunToBeHeldAgain) {
  ASSERT_OK(held_->hold(Structure::kTable, 5 * kSmallChunk, 1));
  const HeldSpace::Run run = write_into_held(Structure::kTable, 5000);
  held_->update();
  EXPECT_EQ(held_->chunks(), 4U) << "but for the table's own chunk";
  file_->full = true;
  ASSERT_OK(held_->reserve_behind(Structure::kTable, run.first, 5000, 5 * kSmallChunk));
  EXPECT_TRUE(held_->take_back(Structure::kTable, {run.first, 1, 5000}));
  EXPECT_OK(held_->hold(Structure::kTable, 5 * kSmallChunk, 1));
  EXPECT_GE(held_->capacity(Structure::kTable), 5 * kSmallChunk);
}

TEST_F(HeldSpaceOnAFile, WhatIsReservedBehindAnObjectIsGivenBack) {
  const auto place = allocator_->allocate(1);
  ASSERT_OK(place);
  ASSERT_OK(storage_->write(Structure::kTable, kGeometry.file_offset(place->first), pattern(5000, 1)));
  const std::uint64_t written = taken();
  ASSERT_OK(held_->reserve_behind(Structure::kTable, place->first, 5000, 60000));
  EXPECT_GT(taken(), written);
  EXPECT_CODE(Code::kNoSpace, held_->reserve_behind(Structure::kTable, place->first, 5000, kSmallChunk + 1));
  (void)held_->release();
  EXPECT_EQ(taken(), written);
}

// Its chunks are others' then, and what they write there is not to be given back.
TEST_F(HeldSpaceOnAFile, NothingIsReservedBehindAnObjectThatWasReplaced) {
  const auto place = allocator_->allocate(1);
  ASSERT_OK(place);
  const Bytes data = pattern(kSmallChunk, 1);
  ASSERT_OK(storage_->write(Structure::kData, kGeometry.file_offset(place->first), data));
  EXPECT_CODE(Code::kNoSpace,
              held_->reserve_behind(Structure::kTable, place->first, 5000, 60000, [] { return false; }));
  (void)held_->release();
  Bytes seen(kSmallChunk);
  ASSERT_OK(storage_->read(Structure::kData, kGeometry.file_offset(place->first), seen));
  EXPECT_EQ(difference(data, seen), "");
}

TEST_F(HeldSpaceOnAFile, AReservationThatFailsTakesNothing) {
  ASSERT_OK(held_->hold(Structure::kTable, 5000, 1));
  const auto place = allocator_->allocate(1);
  ASSERT_OK(place);
  const std::uint64_t start = taken();
  file_->full = true;
  EXPECT_CODE(Code::kNoSpace, held_->hold(Structure::kTable, 60000, 1));
  EXPECT_CODE(Code::kNoSpace, held_->hold(Structure::kTable, 5 * kSmallChunk, 2));
  EXPECT_CODE(Code::kNoSpace, held_->reserve_behind(Structure::kTable, place->first, 5000, 60000));
  EXPECT_EQ(taken(), start);
}

// An image on a real file: beside what it stores there is only the journal.
TEST(HeldSpaceOfAnImage, IsGivenBackAtCloseToTheLastBlock) {
  TemporaryDirectory directory;
  const std::string path = directory.file("image");
  CreateOptions options;
  options.virtual_size = 4096 * kMiB;
  options.chunk_size = kMiB;
  ASSERT_OK(Image::create(path, options));
  std::uint64_t closed = 0;
  for (int round = 0; round < 3; ++round) {
    {
      auto image = Image::open(path, quiet());
      ASSERT_OK(image);
      // Another chunk each time, as many as before.
      ASSERT_OK((*image)->discard(0, 16 * kMiB));
      write_all(**image, static_cast<std::uint64_t>(round) * kMiB, pattern(kMiB, 1));
      ASSERT_OK((*image)->flush());
      ASSERT_OK((*image)->close());
    }
    auto file = PosixFile::open(path, {.read_only = true});
    ASSERT_OK(file);
    const std::uint64_t blocks = blocks_of(**file);
    if (round == 0) closed = blocks;
    EXPECT_EQ(blocks, closed) << round;
    EXPECT_LE(blocks, 4 * kMiB) << "the journal, a chunk of data, a table, and what the host needs to find it";
    EXPECT_EQ(check_findings(**file), "");
  }
}

}  // namespace
}  // namespace fvd::test
