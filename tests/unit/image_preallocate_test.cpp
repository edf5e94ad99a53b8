// What was preallocated and never written is the host's again once it is discarded.
#include <gtest/gtest.h>

#include "io/posix_file.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

std::uint64_t blocks_of(const std::string& path) {
  auto file = PosixFile::open(path, {.read_only = true, .lock = LockMode::kNone});
  EXPECT_OK(file);
  auto bytes = (*file)->allocated();
  EXPECT_OK(bytes);
  return *bytes;
}

TEST(ImagePreallocate, WhatIsDiscardedGoesBackToTheHost) {
  for (const bool background : {false, true}) {
    for (const bool reopened : {false, true}) {
      SCOPED_TRACE(background);
      SCOPED_TRACE(reopened);
      TemporaryDirectory directory;
      const std::string path = directory.file("image");
      ASSERT_OK(Image::create(path, small_chunks(16 * kMiB)));
      OpenOptions options = quiet();
      if (background) options.commit_interval = std::chrono::milliseconds(5);
      auto image = Image::open(path, options);
      ASSERT_OK(image);
      ASSERT_OK((*image)->preallocate(0, 8 * kMiB));
      write_all(**image, kMiB, pattern(4096, 1));
      write_all(**image, 12 * kMiB, pattern(4096, 2));  // behind it: the end of the file is not simply cut off
      ASSERT_OK((*image)->flush());
      if (blocks_of(path) < 8 * kMiB) GTEST_SKIP() << "the file system of /tmp cannot reserve space";
      if (reopened) {
        *image = nullptr;
        image = Image::open(path, options);
        ASSERT_OK(image);
      }
      ASSERT_OK((*image)->discard(0, 8 * kMiB));
      ASSERT_OK((*image)->close());
      EXPECT_LT(blocks_of(path), 4 * kMiB);
    }
  }
}

}  // namespace
}  // namespace fvd::test
