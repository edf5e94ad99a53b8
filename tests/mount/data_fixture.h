// What the tests of current-state's content share.
#ifndef FVD_TESTS_MOUNT_DATA_FIXTURE_H_
#define FVD_TESTS_MOUNT_DATA_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <sstream>
#include <string>

#include "mount/mount_fixture.h"

namespace fvd::test {

class DataTest : public MountTest {
 protected:
  // The value of a counter of .fvd/metrics, summed over its labels.
  [[nodiscard]] std::uint64_t metric(const std::string& name) const {
    std::istringstream lines(read_all(path(".fvd/metrics")));
    std::uint64_t sum = 0;
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind(name + " ", 0) == 0 || line.rfind(name + "{", 0) == 0) {
        sum += std::stoull(line.substr(line.rfind(' ') + 1));
      }
    }
    return sum;
  }
  [[nodiscard]] bool all_zero(const std::string& file) const {
    const std::string data = read_all(file);
    return data.size() == 16 * kMiB && data.find_first_not_of('\0') == std::string::npos;
  }
};

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
inline std::unique_ptr<char, Free> aligned(std::size_t size) {
  return std::unique_ptr<char, Free>(static_cast<char*>(std::aligned_alloc(4096, size)));
}

}  // namespace fvd::test

#endif  // FVD_TESTS_MOUNT_DATA_FIXTURE_H_
