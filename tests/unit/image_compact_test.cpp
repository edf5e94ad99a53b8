// Compacting: partial chunks become complete, free chunks are given back, the tail of the file goes.
#include <gtest/gtest.h>

#include <filesystem>

#include "io/posix_file.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 40 * kSmallChunk;

TEST(ImageCompact, CompletesAndGivesBack) {
  TemporaryDirectory directory;
  const std::string path = directory.file("image");
  ASSERT_OK(Image::create(path, small_chunks(kSize)));
  auto opened = Image::open(path, quiet());
  ASSERT_OK(opened);
  Image& image = **opened;
  write_all(image, 0, pattern(20 * kSmallChunk, 1));
  take(image, "s1");
  for (std::uint64_t v = 0; v < 5; ++v) write_all(image, v * kSmallChunk + 8192, pattern(4096, v + 2));
  take(image, "s2");
  write_all(image, 7 * kSmallChunk, pattern(100, 9));
  ASSERT_OK(image.snapshot_delete("s1"));
  ASSERT_OK(image.discard(10 * kSmallChunk, 10 * kSmallChunk));
  const Bytes wanted = read_all(image);
  const Bytes frozen = read_snapshot(image, "s2");
  EXPECT_EQ(image.info().partial_chunks, 6U);
  std::uint64_t calls = 0;
  ASSERT_OK(image.compact([&](std::uint64_t done, std::uint64_t total) {
    EXPECT_LE(done, total);
    return ++calls != 0;
  }));
  EXPECT_NE(calls, 0U);
  EXPECT_EQ(image.info().partial_chunks, 5U) << "those that a snapshot holds stay as they are";
  EXPECT_EQ(difference(wanted, read_all(image)), "");
  EXPECT_EQ(difference(frozen, read_snapshot(image, "s2")), "");

  ASSERT_OK(image.snapshot_delete("s2"));
  ASSERT_OK(image.discard(3 * kSmallChunk, kSize));
  ASSERT_OK(image.compact());
  EXPECT_EQ(image.info().partial_chunks, 0U);
  EXPECT_LT(image.info().chunks_total, 30U) << "of the 1,024 that the file grew to";
  const ImageInfo info = image.info();
  EXPECT_LE(info.host_allocated, info.journal_size + (info.chunks_used + 1) * kSmallChunk);
  Bytes rest(wanted.begin(), wanted.begin() + 3 * kSmallChunk);
  rest.resize(kSize);
  EXPECT_EQ(difference(rest, read_all(image)), "");
  // The file grows again, and what comes back reads as zeros.
  write_all(image, 30 * kSmallChunk + 512, pattern(512, 12));
  EXPECT_EQ(difference(zeros(512), read_range(image, 30 * kSmallChunk, 512)), "");
  ASSERT_OK(image.close());
  auto file = PosixFile::open(path, {.read_only = true});
  ASSERT_OK(file);
  EXPECT_EQ(check_findings(**file), "");
}

TEST(ImageCompact, AskedToEndItKeepsWhatWasDone) {
  const auto disk = make_disk(small_chunks(kSize));
  const auto image = open_disk(*disk);
  write_all(*image, 0, pattern(20 * kSmallChunk, 1));
  take(*image, "s1");
  for (std::uint64_t v = 0; v < 8; ++v) write_all(*image, v * kSmallChunk, pattern(512, v + 2));
  const Bytes wanted = read_all(*image);
  int calls = 0;
  EXPECT_CODE(Code::kBusy, image->compact([&](std::uint64_t, std::uint64_t) { return ++calls < 4; }));
  EXPECT_LT(image->info().partial_chunks, 8U);
  EXPECT_GT(image->info().partial_chunks, 0U);
  EXPECT_EQ(difference(wanted, read_all(*image)), "");
  ASSERT_OK(image->close());
  expect_sound(*disk);
}

TEST(ImageCompact, NeedsAWritableImage) {
  const auto disk = make_disk(small_chunks(kSize));
  OpenOptions options = quiet();
  options.read_only = true;
  const auto image = open_disk(*disk, options);
  EXPECT_CODE(Code::kReadOnly, image->compact());
  EXPECT_CODE(Code::kReadOnly, image->flatten());
}

}  // namespace
}  // namespace fvd::test
