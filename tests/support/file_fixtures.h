// Ways to make each kind of File for tests that hold for all of them.
#ifndef FVD_TESTS_SUPPORT_FILE_FIXTURES_H_
#define FVD_TESTS_SUPPORT_FILE_FIXTURES_H_

#include <gtest/gtest.h>

#include <memory>

#include "io/posix_file.h"
#include "support/crash_file.h"
#include "support/image_rig.h"
#include "support/memory_file.h"

namespace fvd::test {

struct PosixFileMaker {
  std::unique_ptr<File> make() {
    auto file = PosixFile::open(directory.file("file"), {.create = true});
    EXPECT_OK(file);
    return file ? std::move(file).value() : nullptr;
  }
  TemporaryDirectory directory;
};

struct MemoryFileMaker {
  static std::unique_ptr<File> make() { return std::make_unique<MemoryFile>(); }
};

struct CrashFileMaker {
  static std::unique_ptr<File> make() { return CrashDisk::make()->open(); }
};

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_FILE_FIXTURES_H_
