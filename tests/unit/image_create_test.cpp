// Creating, opening and closing images.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

CreateOptions sized(std::uint64_t size) {
  CreateOptions options;
  options.virtual_size = size;
  return options;
}

TEST(ImageCreate, SizesFrom512BytesTo64TiB) {
  for (const std::uint64_t size :
       {std::uint64_t{512}, std::uint64_t{513}, 5 * kMiB + 1024, std::uint64_t{1} << 40, std::uint64_t{64} << 40}) {
    SCOPED_TRACE(size);
    const auto disk = make_disk(sized(size));
    const auto image = open_disk(*disk);
    ASSERT_NE(image, nullptr);
    const std::uint64_t rounded = (size + 511) / 512 * 512;
    EXPECT_EQ(image->virtual_size(), rounded);
    EXPECT_EQ(image->info().virtual_size, rounded);
    EXPECT_EQ(image->allocated(), 0U);
    EXPECT_EQ(read_range(*image, rounded - 512, 512), zeros(512));
    write_all(*image, rounded - 512, pattern(512, 1));
    ASSERT_OK(image->close());
    const auto again = open_disk(*disk);
    EXPECT_EQ(read_range(*again, rounded - 512, 512), pattern(512, 1));
    expect_sound(*disk->clone());
  }
}

TEST(ImageCreate, RefusesWhatIsOutOfRange) {
  const auto refused = [](const CreateOptions& options) {
    const auto disk = CrashDisk::make();
    EXPECT_CODE(Code::kInvalid, Image::create_on(*disk->open(), options));
  };
  refused(sized(0));
  refused(sized((std::uint64_t{64} << 40) + 512));
  CreateOptions options = sized(kMiB);
  for (const std::uint32_t chunk : {0U, 1U, 32768U, 65537U, 100000U, 1U << 27}) {
    options.chunk_size = chunk;
    refused(options);
  }
  options = sized(kMiB);
  for (const std::uint32_t block : {0U, 256U, 513U, 3000U, 2U << 20}) {
    options.block_size = block;
    refused(options);
  }
  options.chunk_size = 64U << 20;  // more than 16,384 blocks a chunk
  options.block_size = 512;
  refused(options);
}

TEST(ImageCreate, TakesEveryGeometryInRange) {
  for (unsigned chunk_log2 = 16; chunk_log2 <= 26; ++chunk_log2) {
    for (unsigned block_log2 = 9; block_log2 <= chunk_log2; block_log2 += 3) {
      if (chunk_log2 - block_log2 > 14) continue;
      SCOPED_TRACE(std::to_string(chunk_log2) + " " + std::to_string(block_log2));
      CreateOptions options = sized(3U << chunk_log2);
      options.chunk_size = 1U << chunk_log2;
      options.block_size = 1U << block_log2;
      const auto disk = make_disk(options);
      {
        const auto image = open_disk(*disk);
        ASSERT_NE(image, nullptr);
        EXPECT_EQ(image->info().chunk_size, options.chunk_size);
        EXPECT_EQ(image->info().block_size, options.block_size);
        write_all(*image, options.chunk_size - 300, pattern(1000, 1));
        take(*image, "s");
        write_all(*image, options.chunk_size + 5, pattern(7, 2));
        ASSERT_OK(image->close());
      }
      const auto image = open_disk(*disk);
      Bytes wanted = pattern(1000, 1);
      EXPECT_EQ(difference(wanted,
                           [&] {
                             const auto reader = image->open_snapshot(image->current_parent());
                             return reader ? read_range(**reader, options.chunk_size - 300, 1000) : Bytes();
                           }()),
                "");
      const Bytes written = pattern(7, 2);
      std::copy(written.begin(), written.end(), wanted.begin() + 305);
      EXPECT_EQ(difference(wanted, read_range(*image, options.chunk_size - 300, 1000)), "");
      expect_sound(*disk->clone());
    }
  }
}

TEST(ImageCreate, IsSparse) {
  const auto disk = make_disk(sized(std::uint64_t{64} << 40));
  EXPECT_LT(*disk->open()->allocated(), kMiB);
}

TEST(ImageCreate, NeverReplacesAFileUnlessTold) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("image");
  std::ofstream(path) << "precious";
  CreateOptions options = sized(kMiB);
  EXPECT_CODE(Code::kExists, Image::create(path, options));
  std::string content;
  std::ifstream(path) >> content;
  EXPECT_EQ(content, "precious");
  options.overwrite = true;
  ASSERT_OK(Image::create(path, options));
  ASSERT_OK(Image::open(path, quiet()));
}

TEST(ImageCreate, LeavesNoFileWhenItFails) {
  const TemporaryDirectory directory;
  EXPECT_FALSE(Image::create(directory.file("image"), sized(0)).is_ok());
  EXPECT_FALSE(std::filesystem::exists(directory.file("image")));
  EXPECT_CODE(Code::kNotFound, Image::create(directory.file("no/such/folder"), sized(kMiB)));
}

TEST(ImageOpen, RefusesWhatIsNoImage) {
  const TemporaryDirectory directory;
  EXPECT_CODE(Code::kNotFound, Image::open(directory.file("none"), quiet()));
  for (const std::size_t length : {0U, 1U, 4096U, 100000U}) {
    const auto disk = CrashDisk::make();
    ASSERT_OK(disk->open()->write(0, pattern(length, 1)));
    const auto opened = Image::open_on(disk->open(), quiet());
    EXPECT_FALSE(opened.is_ok()) << length;
    EXPECT_NE(opened.status().message(), "");
  }
}

TEST(ImageOpen, SaysWhetherItWasClosedCleanly) {
  const auto disk = make_disk(small_chunks(kMiB));
  auto image = open_disk(*disk);
  EXPECT_TRUE(image->info().was_clean);
  write_all(*image, 0, pattern(5000, 1));
  ASSERT_OK(image->flush());
  const auto killed = disk->clone();
  ASSERT_OK(image->close());
  image.reset();
  EXPECT_TRUE(open_disk(*disk)->info().was_clean);
  const auto recovered = open_disk(*killed);
  EXPECT_FALSE(recovered->info().was_clean);
  EXPECT_EQ(difference(pattern(5000, 1), read_range(*recovered, 0, 5000)), "");
}

TEST(ImageOpen, DestructionClosesCleanly) {
  const auto disk = make_disk(small_chunks(kMiB));
  {
    const auto image = open_disk(*disk);
    write_all(*image, 1000, pattern(5000, 1));
  }
  const auto survivor = disk->reboot(0);
  const auto image = open_disk(*survivor);
  EXPECT_TRUE(image->info().was_clean);
  EXPECT_EQ(difference(pattern(5000, 1), read_range(*image, 1000, 5000)), "");
}

TEST(ImageOpen, AnOpenAndCloseWithoutChangesWritesNothing) {
  const auto disk = make_disk(small_chunks(kMiB));
  disk->arm({});
  ASSERT_OK(open_disk(*disk)->close());
  EXPECT_EQ(disk->operations(), 0U);
}

TEST(ImageReadOnly, ServesReadsAndRefusesEveryChange) {
  const auto disk = make_disk(small_chunks(kMiB));
  {
    const auto image = open_disk(*disk);
    write_all(*image, 0, pattern(5000, 1));
    take(*image, "s");
    write_all(*image, 0, pattern(5000, 2));
    ASSERT_OK(image->flush());
    const auto killed = disk->clone();  // and so needs its journal replayed
    OpenOptions options = quiet();
    options.read_only = true;
    killed->arm({});
    const auto reader = open_disk(*killed, options);
    ASSERT_NE(reader, nullptr);
    EXPECT_TRUE(reader->read_only());
    EXPECT_TRUE(reader->info().read_only);
    EXPECT_EQ(difference(pattern(5000, 2), read_range(*reader, 0, 5000)), "");
    EXPECT_EQ(difference(read_snapshot(*image, "s"), read_snapshot(*reader, "s")), "");
    EXPECT_CODE(Code::kReadOnly, reader->write(0, pattern(1, 1)));
    EXPECT_CODE(Code::kReadOnly, reader->discard(0, 512));
    EXPECT_CODE(Code::kReadOnly, reader->preallocate(0, 512));
    EXPECT_CODE(Code::kReadOnly, reader->resize(2 * kMiB, true));
    EXPECT_CODE(Code::kReadOnly, reader->copy_range(reader->current_parent(), 0, 0, 512));
    EXPECT_CODE(Code::kReadOnly, reader->snapshot_create("t"));
    EXPECT_CODE(Code::kReadOnly, reader->snapshot_goto("s"));
    EXPECT_CODE(Code::kReadOnly, reader->snapshot_rename("s", "t"));
    EXPECT_CODE(Code::kReadOnly, reader->snapshot_delete("s"));
    EXPECT_CODE(Code::kReadOnly, reader->snapshot_set_description("s", "t"));
    EXPECT_CODE(Code::kReadOnly, reader->snapshot_set_hold("s", true));
    EXPECT_OK(reader->close());
    EXPECT_EQ(killed->operations(), 0U);
  }
}

class ImageLock : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(Image::create(path_, small_chunks(kMiB))); }

  static OpenOptions options(bool read_only, bool force_share) {
    OpenOptions one = quiet();
    one.read_only = read_only;
    one.force_share = force_share;
    return one;
  }

  TemporaryDirectory directory_;
  std::string path_ = directory_.file("image");
};

TEST_F(ImageLock, AWriterExcludesEveryOtherOpen) {
  const auto writer = Image::open(path_, options(false, false));
  ASSERT_OK(writer);
  const auto second = Image::open(path_, options(false, false));
  EXPECT_CODE(Code::kLocked, second);
  EXPECT_NE(second.status().message().find(path_), std::string::npos) << second.status().message();
  EXPECT_CODE(Code::kLocked, Image::open(path_, options(true, false)));
  EXPECT_OK(Image::open(path_, options(true, true)));
}

TEST_F(ImageLock, ReadersShareAndExcludeAWriter) {
  const auto first = Image::open(path_, options(true, false));
  ASSERT_OK(first);
  EXPECT_OK(Image::open(path_, options(true, false)));
  EXPECT_CODE(Code::kLocked, Image::open(path_, options(false, false)));
}

TEST_F(ImageLock, EndsWithCloseOrDestruction) {
  auto first = Image::open(path_, options(false, false));
  ASSERT_OK(first);
  ASSERT_OK((*first)->close());
  first = Status();
  {
    const auto second = Image::open(path_, options(false, false));
    ASSERT_OK(second);
  }
  EXPECT_OK(Image::open(path_, options(false, false)));
}

TEST_F(ImageLock, CreateNeverOverwritesAnImageInUse) {
  const auto writer = Image::open(path_, options(false, false));
  ASSERT_OK(writer);
  CreateOptions overwrite = small_chunks(kMiB);
  overwrite.overwrite = true;
  EXPECT_CODE(Code::kLocked, Image::create(path_, overwrite));
}

// What a daemon says as soon as its mount is gone, with much still to do before it closes the image.
TEST(ImageCreate, WhoOpensAnImageThatIsAboutToBeClosedWaitsForIt) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("disk.fvd");
  ASSERT_OK(Image::create(path, sized(kMiB)));
  auto first = Image::open(path, quiet());
  ASSERT_OK(first);
  (*first)->closing();
  std::atomic<bool> closed{false};
  std::thread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    write_all(**first, 0, pattern(4096, 1));
    closed = true;
    first->reset();
  });
  const auto next = Image::open(path, quiet());
  EXPECT_OK(next);
  EXPECT_TRUE(closed) << "two owners at once";
  closer.join();
  ASSERT_TRUE(next.is_ok());
  EXPECT_EQ(difference(pattern(4096, 1), read_range(**next, 0, 4096)), "");
}

}  // namespace
}  // namespace fvd::test
