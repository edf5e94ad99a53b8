// Small tools that tests of fvd::Image share: disks in memory, patterns of bytes, metrics by name.
#ifndef FVD_TESTS_SUPPORT_IMAGE_RIG_H_
#define FVD_TESTS_SUPPORT_IMAGE_RIG_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fvd/image.h"
#include "support/crash_file.h"

#define ASSERT_OK(expression)                                             \
  do {                                                                    \
    const auto& ok_result = (expression);                                 \
    ASSERT_TRUE(ok_result.is_ok()) << ::fvd::test::message_of(ok_result); \
  } while (false)
#define EXPECT_OK(expression)                                             \
  do {                                                                    \
    const auto& ok_result = (expression);                                 \
    EXPECT_TRUE(ok_result.is_ok()) << ::fvd::test::message_of(ok_result); \
  } while (false)
#define EXPECT_CODE(code_wanted, expression)                                                     \
  do {                                                                                           \
    const auto& code_result = (expression);                                                      \
    EXPECT_EQ(code_result.code(), code_wanted)                                                   \
        << ::fvd::code_name(code_result.code()) << ": " << ::fvd::test::message_of(code_result); \
  } while (false)

namespace fvd::test {

using Bytes = std::vector<std::byte>;

inline std::string message_of(const Status& status) { return status.message(); }
template <typename T>
std::string message_of(const Result<T>& result) {
  return result.status().message();
}

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kSmallChunk = 64 * kKiB;

// Bytes that differ at every position and from every other seed's, none of them zero.
Bytes pattern(std::size_t size, std::uint64_t seed);
Bytes zeros(std::size_t size);

// Options for tests: 64 KiB chunks, no background work, so that the same calls give the same I/O.
CreateOptions small_chunks(std::uint64_t virtual_size, std::uint32_t block_size = 4096);
OpenOptions quiet();

std::shared_ptr<CrashDisk> make_disk(const CreateOptions& options);
// Null, and a failure of the test, when it cannot be opened.
std::unique_ptr<Image> open_disk(CrashDisk& disk, OpenOptions options = quiet());

// Bytes that were read; a failure of the test and empty when reading fails or comes short.
Bytes read_range(StateReader& state, std::uint64_t offset, std::uint64_t length);
Bytes read_all(StateReader& state);
Bytes read_snapshot(Image& image, std::string_view name);
// Writes all of it or fails the test.
void write_all(Image& image, std::uint64_t offset, const Bytes& data);
SnapshotId take(Image& image, std::string_view name);

// "" when equal, else where and how they first differ.
std::string difference(const Bytes& wanted, const Bytes& seen);
// Fails the test unless the check finds nothing at all.
void expect_sound(CrashDisk& disk);
// One line a finding, "" when there is none.
std::string check_findings(File& file);

// Sum of the counters of that name, of one structure if given. Fails the test when there is none.
std::uint64_t metric(const Image& image, std::string_view name, std::string_view structure = {});

// Environment variable as a number, or `fallback`.
std::uint64_t environment(const char* name, std::uint64_t fallback);
// How far apart the tries of a sweep over every I/O are: 1, or FVD_TEST_STRIDE (for sanitizers, which make each slow).
std::uint64_t stride();

// A directory under /tmp that is removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_IMAGE_RIG_H_
