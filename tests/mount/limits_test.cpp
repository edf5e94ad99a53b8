// The largest number of snapshots, through the mount.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "fvd/image.h"
#include "mount/mount_fixture.h"
#include "support/many_snapshots.h"

namespace fvd::test {
namespace {

class LimitsTest : public MountTest {};

TEST_F(LimitsTest, As65535SnapshotsAreAllThereIs) {
  const Status made = add_empty_snapshots(image_, kMaxSnapshots - 1);
  ASSERT_TRUE(made) << made.message();
  expect_sound();
  mount();
  take("last");
  EXPECT_EQ(list(path("snapshots")).size(), kMaxSnapshots);
  EXPECT_ERRNO(EMLINK, ::mkdir(snapshot("more").c_str(), 0755));
  EXPECT_ERRNO(EEXIST, ::mkdir(snapshot("s1").c_str(), 0755));
  const CommandResult said = run("mkdir " + snapshot("more"));
  EXPECT_EQ(said.status, 1);
  EXPECT_NE(said.err.find("Too many links"), std::string::npos) << said.err;
  // Everything else goes on, and one that goes makes room for one that comes.
  write_at(current(), 0, "data");
  EXPECT_EQ(read_at(disk("s30000"), 0, 4), std::string(4, '\0'));
  EXPECT_EQ(target_of(snapshot("s30000") + "/parent"), "../s29999");
  ASSERT_OK(::rmdir(snapshot("s30000").c_str()));
  EXPECT_EQ(target_of(snapshot("s30001") + "/parent"), "../s29999");
  take("more");
  EXPECT_ERRNO(EMLINK, ::mkdir(snapshot("and_more").c_str(), 0755));
  EXPECT_EQ(read_at(disk("more"), 0, 4), "data");
  unmount();
  expect_sound();
}

}  // namespace
}  // namespace fvd::test
