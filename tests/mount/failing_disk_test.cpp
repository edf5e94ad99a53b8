// A host disk that fails under a mounted image: what callers see, what the mount says of itself, and that a remount
// recovers everything that was promised.
#include "mount/failing_disk.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "mount/mount_fixture.h"

namespace fvd::test {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using What = FailingDisk::What;

class FailingDiskTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const std::string lower = directory_ + "/lower";
    ASSERT_OK(::mkdir(lower.c_str(), 0755));
    CreateOptions options;
    options.virtual_size = 4 * kMiB;
    options.chunk_size = 64 << 10;
    create_image(options);
    store_ = directory_ + "/store";
    ASSERT_OK(::rename(image_.c_str(), store_.c_str()));
    host_ = std::make_unique<FailingDisk>(lower, store_);
    if (!host_->mounted()) GTEST_SKIP() << "cannot mount the failing disk";
    image_ = host_->file();
    expect_quiet_log_ = false;
  }
  void TearDown() override {
    if (host_) host_->heal();
    if (mounted() && daemon_pid() > 0) finish();
    host_.reset();
    MountTest::TearDown();
  }

  // An image that turned read-only cannot be closed well; its daemon says so and ends all the same.
  void finish() {
    ASSERT_EQ(run("fusermount3 -u " + mount_point_).status, 0);
    wait_for_end();
  }
  [[nodiscard]] std::string log() const {
    std::ifstream in(log_);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  [[nodiscard]] nlohmann::json info() const { return nlohmann::json::parse(read_all(path(".fvd/info.json"))); }
  [[nodiscard]] bool turned_read_only() const { return !info()["error"].is_null(); }

  void expect_read_only() {
    const std::string reason = info()["error"].get<std::string>();
    EXPECT_THAT(reason, HasSubstr("Input/output error"));
    const std::string told = " error: " + image_ + " is read-only from now on: " + reason;
    for (int i = 0; i < 500 && log().find(told) == std::string::npos; ++i) ::usleep(10000);  // told after it is so
    EXPECT_THAT(log(), HasSubstr(told));
    EXPECT_ERRNO(EROFS, ::open(current().c_str(), O_RDWR));
    EXPECT_ERRNO(EROFS, ::mkdir(snapshot("no").c_str(), 0755));
    const std::string one = snapshot(list(path("snapshots")).at(0));
    EXPECT_ERRNO(EROFS, ::rmdir(one.c_str()));
    EXPECT_ERRNO(EROFS, ::rename(one.c_str(), snapshot("no").c_str()));
    EXPECT_ERRNO(EROFS, ::rename(one.c_str(), snapshot("current-state").c_str()));
    EXPECT_ERRNO(EROFS, ::truncate(current().c_str(), 8 * kMiB));
  }

  std::string store_;
  std::unique_ptr<FailingDisk> host_;
};

TEST_F(FailingDiskTest, AFailedReadIsTheCallersAndPasses) {
  mount();
  write_at(current(), 0, std::string(kMiB, 'a'));
  take("s1");
  write_at(current(), 0, "bb");
  const Fd fd(::open(current().c_str(), O_RDONLY | O_DIRECT));
  const Fd old(::open(disk("s1").c_str(), O_RDONLY | O_DIRECT));
  alignas(4096) static char buffer[4096];
  host_->fail(What::kReads);
  EXPECT_ERRNO(EIO, ::pread(fd.get(), buffer, sizeof buffer, 0));
  EXPECT_ERRNO(EIO, ::pread(old.get(), buffer, sizeof buffer, 0));
  host_->heal();
  EXPECT_FALSE(turned_read_only());
  EXPECT_EQ(::pread(fd.get(), buffer, sizeof buffer, 0), 4096);
  EXPECT_EQ(std::string(buffer, 3), "bba");
  EXPECT_EQ(::pread(old.get(), buffer, sizeof buffer, 0), 4096);
  EXPECT_EQ(std::string(buffer, 3), "aaa");
  take("s2");
}

TEST_F(FailingDiskTest, AFailedWriteOfDataIsTheCallersAndPasses) {
  mount();
  write_at(current(), 0, "kept");
  const Fd fd(::open(current().c_str(), O_RDWR));
  ASSERT_OK(::fsync(fd.get()));
  host_->fail(What::kWrites, 1, 1);
  EXPECT_ERRNO(EIO, ::pwrite(fd.get(), "lost", 4, 2 * kMiB));
  EXPECT_EQ(host_->failures(), 1U);
  EXPECT_FALSE(turned_read_only());
  EXPECT_EQ(::pwrite(fd.get(), "here", 4, 3 * kMiB), 4);
  EXPECT_OK(::fsync(fd.get()));
  EXPECT_EQ(read_at(current(), 0, 4), "kept");
  EXPECT_EQ(read_at(current(), 2 * kMiB, 4), std::string(4, '\0'));
  EXPECT_EQ(read_at(current(), 3 * kMiB, 4), "here");
}

TEST_F(FailingDiskTest, AFailedSyncIsNeverTakenForADelay) {
  mount();
  write_at(current(), 0, "synced");
  take("s1");
  {
    const Fd fd(::open(current().c_str(), O_RDWR));
    ASSERT_EQ(::pwrite(fd.get(), "unsure", 6, kMiB), 6);
    host_->fail(What::kSyncs, 1, 1);
    // The background commit may be the one that it hits; then the caller's finds the image failed.
    EXPECT_THAT(failure_of([&] { return ::fsync(fd.get()); }), AnyOf(EIO, EROFS));
    EXPECT_EQ(host_->failures(), 1U);
    // The disk works again, and still the second fsync must not say that all is well.
    EXPECT_ERRNO(EROFS, ::fsync(fd.get()));
    EXPECT_ERRNO(EROFS, ::pwrite(fd.get(), "more", 4, 0));
  }
  expect_read_only();
  EXPECT_EQ(read_at(current(), 0, 6), "synced");
  EXPECT_EQ(read_at(disk("s1"), 0, 6), "synced");
  finish();
  expect_sound();
  mount();
  EXPECT_FALSE(turned_read_only());
  EXPECT_EQ(read_at(current(), 0, 6), "synced");
  EXPECT_EQ(read_at(disk("s1"), 0, 6), "synced");
  take("s2");
}

// Every operation on snapshots, with the failure at its first, second, third ... write or sync until it survives: it
// says so with EIO, and has happened wholly or not at all, in the mount and after a remount.
TEST_F(FailingDiskTest, SnapshotOperationsHappenWhollyOrNotAtAll) {
  struct Operation {
    const char* name;
    std::function<int()> act;
    const char* before;  // the tree
    const char* after;
  };
  const char* const before = "s1->s2->(current-state)";
  const std::vector<Operation> operations{
      {"create", [this] { return ::mkdir(snapshot("s3").c_str(), 0755); }, before, "s1->s2->s3->(current-state)"},
      {"delete", [this] { return ::rmdir(snapshot("s1").c_str()); }, before, "s2->(current-state)"},
      {"rename", [this] { return ::rename(snapshot("s2").c_str(), snapshot("t").c_str()); }, before,
       "s1->t->(current-state)"},
      {"goto", [this] { return ::rename(snapshot("s1").c_str(), snapshot("current-state").c_str()); }, before,
       "s1->{s2, (current-state)}"}};
  mount();
  write_at(current(), 0, "one");
  take("s1");
  write_at(current(), 0, "two");
  take("s2");
  write_at(current(), 0, "now");
  {
    const Fd fd(::open(current().c_str(), O_RDONLY));
    ASSERT_OK(::fsync(fd.get()));
  }
  finish();
  ASSERT_EQ(run("cp --sparse=always " + store_ + " " + store_ + ".start").status, 0);
  unsigned failed = 0;
  for (const Operation& operation : operations) {
    for (const What what : {What::kWrites, What::kSyncs}) {
      for (std::uint64_t at = 1;; ++at) {
        SCOPED_TRACE(std::string(operation.name) + (what == What::kSyncs ? ", sync " : ", write ") +
                     std::to_string(at));
        ASSERT_LT(at, 100U);
        // In place: the disk has the file open.
        ASSERT_EQ(run("cp --sparse=always " + store_ + ".start " + store_).status, 0);
        mount();
        ASSERT_EQ(tree(), operation.before);
        host_->fail(what, at, 1);
        errno = 0;
        const int result = operation.act();
        const int error = errno;
        const bool hit = host_->failures() != 0;
        // The background thread may be the one that was hit, and not know it yet.
        bool read_only = turned_read_only();
        for (int i = 0; i < 500 && hit && what == What::kSyncs && !read_only; ++i) {
          ::usleep(10000);
          read_only = turned_read_only();
        }
        host_->heal();
        EXPECT_TRUE(result == 0 || (hit && error == EIO)) << strerror(error);
        const std::string seen = tree();
        EXPECT_EQ(seen, result == 0 ? operation.after : operation.before);
        EXPECT_TRUE(read_only || what != What::kSyncs || !hit);
        if (read_only) expect_read_only();
        finish();
        expect_sound();
        mount();
        const std::string now = tree();
        // After a failed write of the superblock nobody knows; any other refusal has changed nothing.
        EXPECT_TRUE(now == seen || (read_only && now == operation.after)) << now;
        EXPECT_EQ(read_at(current(), 0, 3),
                  now == operation.after && operation.name == std::string("goto") ? "one" : "now");
        EXPECT_FALSE(turned_read_only());
        take("usable");
        finish();
        if (HasFailure()) return;
        if (!hit) break;
        ++failed;
      }
    }
  }
  std::cout << "[   faults ] " << failed << '\n';
  EXPECT_GE(failed, 16U);
}

// The disk goes away for good, under writers: an error for everybody, no hang, an end of the daemon, and what was
// synced is there when the disk comes back.
TEST_F(FailingDiskTest, ADiskThatGoesAwayLosesNothingThatWasSynced) {
  mount();
  write_at(current(), 0, std::string(kMiB, 's'));
  take("s1");
  {
    const Fd fd(::open(current().c_str(), O_RDWR));
    ASSERT_EQ(::pwrite(fd.get(), "synced", 6, 0), 6);
    ASSERT_OK(::fsync(fd.get()));
    host_->fail(What::kAll);
    EXPECT_THAT(failure_of([&] { return ::pwrite(fd.get(), "lost", 4, 2 * kMiB) < 0 ? -1 : 0; }), AnyOf(EIO, EROFS));
    EXPECT_THAT(failure_of([&] { return ::fsync(fd.get()); }), AnyOf(EIO, EROFS));
    EXPECT_THAT(failure_of([&] { return ::mkdir(snapshot("s2").c_str(), 0755); }), AnyOf(EIO, EROFS));
  }
  EXPECT_TRUE(turned_read_only());
  finish();
  EXPECT_THAT(log(), HasSubstr("closing " + image_));
  // A disk that cannot be read cannot be mounted, and that is said.
  const CommandResult refused = try_mount();
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("Input/output error"));
  host_->heal();
  expect_sound();
  mount();
  EXPECT_EQ(read_at(current(), 0, 7), "synceds");
  EXPECT_EQ(read_at(disk("s1"), 0, 7), "sssssss");
}

}  // namespace
}  // namespace fvd::test
