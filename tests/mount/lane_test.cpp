// A lane survives what its jobs do. Needs no mount.
#include "fuse/lane.h"

#include <gtest/gtest.h>

#include <atomic>
#include <new>

namespace fvdfs {
namespace {

TEST(Lane, AJobThatRunsOutOfMemoryIsNotTheLast) {
  std::atomic<int> ran = 0;
  Lane lane;
  lane.start();
  lane.run([&] { ++ran; });
  lane.run([&] {
    ++ran;
    throw std::bad_alloc();
  });
  lane.run([&] { ++ran; });
  lane.stop();
  EXPECT_EQ(ran, 3);
}

}  // namespace
}  // namespace fvdfs
