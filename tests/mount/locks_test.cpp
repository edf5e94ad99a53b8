// Who may open an image while who has it open: daemons, commands, dead owners, block devices.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "mount/mount_fixture.h"

namespace fvd::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class LocksTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    second_ = directory_ + "/second";
    ASSERT_OK(::mkdir(second_.c_str(), 0755));
  }
  void TearDown() override {
    if (!second_.empty()) (void)run("fusermount3 -u -z " + second_ + " 2> /dev/null");
    if (!loop_.empty()) {
      if (mounted()) unmount();
      (void)run("losetup -d " + loop_);
    }
    MountTest::TearDown();
  }

  // One line that says what is wrong with which image and what to do.
  void expect_refused(const std::string& command, const std::string& advice) const {
    const CommandResult result = run(command);
    EXPECT_EQ(result.status, 1) << command << result.out << result.err;
    EXPECT_THAT(result.err, StartsWith("fvd"));
    EXPECT_THAT(result.err, HasSubstr("image " + image_ + " is in use by another process")) << command;
    EXPECT_THAT(result.err, HasSubstr(advice)) << command;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
  [[nodiscard]] std::string daemon(const std::string& options, const std::string& where) const {
    return fvdfs_binary() + " --log-file " + directory_ + "/log2 " + options + " " + image_ + " " + where;
  }
  [[nodiscard]] std::vector<std::string> writing_commands() const {
    const std::string tool = fvd_binary();
    return {tool + " snapshot create " + image_ + " s9", tool + " snapshot delete " + image_ + " s1",
            tool + " snapshot goto " + image_ + " s1", tool + " snapshot rename " + image_ + " s1 s9",
            tool + " create --force " + image_ + " 1G"};
  }
  [[nodiscard]] std::vector<std::string> reading_commands() const {
    const std::string tool = fvd_binary();
    return {tool + " info " + image_, tool + " tree " + image_, tool + " snapshot list " + image_};
  }

  // The image on a loop device of `size` bytes; skips the test where there is none.
  void use_loop_device(const std::string& size) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root for a loop device";
    const CommandResult made =
        run("truncate -s " + size + " " + directory_ + "/device && losetup --find --show " + directory_ + "/device");
    if (made.status != 0) GTEST_SKIP() << "no loop device: " << made.err;
    loop_ = made.out.substr(0, made.out.find('\n'));
    image_ = loop_;
  }

  std::string second_;
  std::string loop_;
};

TEST_F(LocksTest, AMountedImageIsNobodyElses) {
  mount();
  take("s1");
  expect_refused(daemon("", second_), "unmount or stop that first");
  for (const std::string& command : writing_commands()) expect_refused(command, "unmount or stop that first");
  for (const std::string& command : reading_commands()) {
    expect_refused(command, "or read it as it is with --force-share");
    const CommandResult shared = run(command + " --force-share");
    EXPECT_EQ(shared.status, 0) << command << shared.err;
  }
  expect_refused(fvd_binary() + " check " + image_, "unmount or stop that first");
  expect_refused(daemon("-r", second_), "--force-share");
  ASSERT_EQ(run(daemon("-r --force-share", second_)).status, 0);
  EXPECT_EQ(list(second_ + "/snapshots"), std::vector<std::string>{"s1"});
  EXPECT_EQ(run("fusermount3 -u " + second_).status, 0);
  // Nothing of it disturbed the mount.
  take("s2");
  EXPECT_EQ(tree(), "s1->s2->(current-state)");
}

TEST_F(LocksTest, ReadersShareAndKeepWritersOut) {
  mount("-r");
  ASSERT_EQ(run(daemon("-r", second_)).status, 0);
  for (const std::string& command : reading_commands()) {
    const CommandResult read = run(command);
    EXPECT_EQ(read.status, 0) << command << read.err;
  }
  EXPECT_EQ(run(fvd_binary() + " check " + image_).status, 0);
  for (const std::string& command : writing_commands()) expect_refused(command, "unmount or stop that first");
  const std::string third = directory_ + "/third";
  ASSERT_OK(::mkdir(third.c_str(), 0755));
  expect_refused(daemon("", third), "unmount or stop that first");
  EXPECT_EQ(run("fusermount3 -u " + second_).status, 0);
}

TEST_F(LocksTest, OfManyThatStartAtOnceOneMounts) {
  for (int round = 0; round < 5; ++round) {
    std::string command = "cd " + directory_ + "; mkdir -p m1 m2 m3 m4;";
    for (const char* where : {"m1", "m2", "m3", "m4"})
      command += " (" + daemon("", directory_ + "/" + where) + " 2>/dev/null && echo " + where + ") &";
    const CommandResult result = run(command + " wait");
    ASSERT_EQ(result.out.size(), 3U) << "these are mounted: " << result.out;
    EXPECT_EQ(run("fusermount3 -u " + directory_ + "/" + result.out).status, 0);
  }
}

TEST_F(LocksTest, TheLockOfAKilledDaemonDiesWithIt) {
  for (int round = 0; round < 5; ++round) {
    mount();
    take("s" + std::to_string(round));
    kill_daemon();
    // The dead mount is in the way of nobody who mounts elsewhere, nor of the tool.
    ASSERT_EQ(run(daemon("", second_)).status, 0);
    EXPECT_EQ(list(second_ + "/snapshots").size(), static_cast<std::size_t>(round) + 1);
    EXPECT_EQ(run("fusermount3 -u " + second_).status, 0);
    const CommandResult listed = run(fvd_binary() + " snapshot list " + image_);
    EXPECT_EQ(listed.status, 0) << listed.err;
    remove_dead_mount();
  }
  mount();
}

TEST_F(LocksTest, ABlockDeviceHoldsAnImage) {
  use_loop_device("64M");
  if (IsSkipped() || HasFatalFailure()) return;
  const CommandResult kept = run(fvd_binary() + " create " + image_ + " 16M");
  EXPECT_EQ(kept.status, 1) << "a device's content is replaced only when told";
  ASSERT_EQ(run(fvd_binary() + " create --force --chunk-size 64K " + image_ + " 16M").status, 0);
  mount();
  write_at(current(), 0, std::string(kMiB, 'a'));
  take("s1");
  write_at(current(), 0, std::string(kMiB, 'b'));
  EXPECT_EQ(read_at(disk("s1"), kMiB - 1, 1), "a");
  // Neither a second daemon, nor a command, nor the kernel may have it.
  const auto refused = [](const CommandResult& result) {
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err, HasSubstr("in use"));
  };
  refused(run(daemon("", second_)));
  refused(run(fvd_binary() + " snapshot create " + image_ + " s2"));
  refused(run(fvd_binary() + " create --force " + image_ + " 16M"));
  EXPECT_ERRNO(EBUSY, ::open(image_.c_str(), O_RDWR | O_EXCL));
  {
    const Fd fd(::open(current().c_str(), O_RDWR));
    ASSERT_OK(::fsync(fd.get()));
  }
  kill_daemon();
  remove_dead_mount();
  expect_sound();
  mount();
  EXPECT_EQ(read_at(current(), kMiB - 1, 1), "b");
  EXPECT_EQ(read_at(disk("s1"), kMiB - 1, 1), "a");
  EXPECT_THAT(read_all(path(".fvd/info.json")), HasSubstr("\"block_device\": true"));
  go_to("s1");
  ASSERT_OK(::truncate(current().c_str(), 128 * kMiB));
  // It ends: the writer hears of it, and space that is given back is used again.
  expect_quiet_log_ = false;
  {
    const Fd fd(::open(current().c_str(), O_RDWR));
    const std::string data(kMiB, 'c');
    off_t at = 0;
    while (::pwrite(fd.get(), data.data(), data.size(), at) == static_cast<ssize_t>(kMiB)) at += kMiB;
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_GT(at, static_cast<off_t>(40 * kMiB));
    EXPECT_OK(::fsync(fd.get()));
    ASSERT_OK(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 20 * kMiB));
    ASSERT_OK(::fsync(fd.get()));
    EXPECT_EQ(::pwrite(fd.get(), data.data(), data.size(), 100 * kMiB), static_cast<ssize_t>(kMiB));
    EXPECT_OK(::fsync(fd.get()));
  }
  EXPECT_EQ(read_at(current(), 10 * kMiB, 1), std::string(1, '\0'));
  EXPECT_EQ(read_at(current(), 30 * kMiB, 1), "c");
  EXPECT_EQ(read_at(disk("s1"), kMiB - 1, 1), "a");
  ASSERT_OK(::rmdir(snapshot("s1").c_str()));
  unmount();
  expect_sound();
}

TEST_F(LocksTest, ADeviceThatTheKernelUsesIsRefused) {
  use_loop_device("16M");
  if (IsSkipped() || HasFatalFailure()) return;
  ASSERT_EQ(run("mkfs.ext4 -q " + loop_ + " && mount " + loop_ + " " + second_).status, 0);
  for (const std::string& command : {fvd_binary() + " create --force " + loop_ + " 8M", daemon("", mount_point_)}) {
    const CommandResult result = run(command);
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err, HasSubstr("device " + loop_ + " is in use (mounted, or open exclusively); release it"));
  }
  EXPECT_EQ(run("umount " + second_).status, 0);
}

}  // namespace
}  // namespace fvd::test
