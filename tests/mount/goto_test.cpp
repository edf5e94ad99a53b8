// Going to a snapshot: `mv snapshots/NAME snapshots/current-state`.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "mount/mount_fixture.h"

namespace fvd::test {
namespace {

using ::testing::UnorderedElementsAre;

class GotoTest : public MountTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(GotoTest, TellsTheStoryOfTheTree) {
  mount(GetParam());
  for (const char* name : {"s1", "s2", "s3", "s4"}) {
    write_at(current(), 0, name);
    take(name);
  }
  EXPECT_EQ(tree(), "s1->s2->s3->s4->(current-state)");
  write_at(current(), 0, "XX");
  const CommandResult moved = run("mv " + snapshot("s2") + " " + snapshot("current-state"));
  EXPECT_EQ(moved.status, 0) << moved.err;
  EXPECT_EQ(moved.err, "");
  EXPECT_EQ(tree(), "s1->s2->{s3->s4, (current-state)}");
  EXPECT_EQ(read_at(current(), 0, 2), "s2");
  EXPECT_EQ(target_of(path("parent")), "snapshots/s2");
  write_at(current(), 0, "s5");
  take("s5");
  go_to("s4");
  EXPECT_EQ(tree(), "s1->s2->{s3->s4->(current-state), s5}");
  EXPECT_EQ(read_at(current(), 0, 2), "s4");
  for (const char* name : {"s1", "s2", "s3", "s4", "s5"}) EXPECT_EQ(read_at(disk(name), 0, 2), name);
  unmount();
  mount(GetParam());
  EXPECT_EQ(tree(), "s1->s2->{s3->s4->(current-state), s5}");
  EXPECT_EQ(read_at(current(), 0, 2), "s4");
}

TEST_P(GotoTest, TheSnapshotStaysAndTheNameCurrentStateNeverAppears) {
  mount(GetParam());
  write_at(current(), 0, "s1");
  take("s1");
  take("s2");
  const Fd disk_fd(::open(disk("s1").c_str(), O_RDONLY));
  const Fd directory(::open(snapshot("s1").c_str(), O_RDONLY | O_DIRECTORY));
  for (int i = 0; i < 50; ++i) {
    const CommandResult moved = run("mv " + snapshot("s1") + " " + snapshot("current-state"));
    ASSERT_EQ(moved.status, 0) << moved.err;
    EXPECT_ERRNO(ENOENT, ::access(snapshot("current-state").c_str(), F_OK));
    EXPECT_THAT(list(path("snapshots")), UnorderedElementsAre("s1", "s2"));
    EXPECT_EQ(read_at(disk("s1"), 0, 2), "s1");
    char data[3] = {};
    EXPECT_EQ(::pread(disk_fd.get(), data, 2, 0), 2);
    EXPECT_STREQ(data, "s1");
    struct stat st {};
    EXPECT_OK(::fstatat(directory.get(), "disk.raw", &st, 0));
  }
  // A plain rename as well, and right after it a snapshot: nothing waits for anything.
  for (int i = 0; i < 20; ++i) {
    go_to("s1");
    take("t" + std::to_string(i));
    ASSERT_OK(::rmdir(snapshot("t" + std::to_string(i)).c_str()));
    go_to("s2");
  }
}

TEST_P(GotoTest, IsBusyWhileTheDiskIsOpenForWriting) {
  mount(GetParam());
  write_at(current(), 0, "old");
  take("s1");
  write_at(current(), 0, "new");
  for (const int flags : {O_RDWR, O_WRONLY}) {
    const Fd writer(::open(current().c_str(), flags));
    EXPECT_ERRNO(EBUSY, ::rename(snapshot("s1").c_str(), snapshot("current-state").c_str()));
    const CommandResult moved = run("mv " + snapshot("s1") + " " + snapshot("current-state"));
    EXPECT_EQ(moved.status, 1);
    EXPECT_EQ(read_at(current(), 0, 3), "new");
    EXPECT_EQ(tree(), "s1->(current-state)");
  }
  {
    Fd writer(::open(current().c_str(), O_RDWR));
    void* map = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer.get(), 0);
    ASSERT_NE(map, MAP_FAILED);
    writer.reset();
    EXPECT_ERRNO(EBUSY, ::rename(snapshot("s1").c_str(), snapshot("current-state").c_str()));
    ::munmap(map, 4096);
  }
  Fd reader(::open(current().c_str(), O_RDONLY));
  go_to("s1");
  EXPECT_EQ(read_at(current(), 0, 3), "old");
}

TEST_P(GotoTest, NeverTripsOverAWriterThatIsGone) {
  mount(GetParam());
  take("s1");
  for (int i = 0; i < 200; ++i) {
    write_at(current(), 0, "data");
    go_to("s1");
    ASSERT_EQ(read_at(current(), 0, 4), std::string(4, '\0')) << i;
  }
}

TEST_P(GotoTest, NothingOldIsReadAfterwardsAndNothingDirtyLandsOnTheNewState) {
  mount(GetParam());
  write_at(current(), 0, std::string(4 * kMiB, 'a'));
  take("s1");
  for (int i = 0; i < 5; ++i) {
    // Cached by a reader that stays open, dirty from a mapping and from a buffered write, both gone without fsync.
    const Fd reader(::open(current().c_str(), O_RDONLY));
    {
      const Fd writer(::open(current().c_str(), O_RDWR));
      auto* map = static_cast<char*>(::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, writer.get(), 0));
      ASSERT_NE(map, MAP_FAILED);
      std::memset(map, 'm', kMiB);
      ::munmap(map, kMiB);
      const std::string data(kMiB, 'b');
      ASSERT_EQ(::pwrite(writer.get(), data.data(), data.size(), kMiB), static_cast<ssize_t>(data.size()));
    }
    std::string buffer(4 * kMiB, '\0');
    ASSERT_EQ(::pread(reader.get(), buffer.data(), buffer.size(), 0), static_cast<ssize_t>(buffer.size()));
    ASSERT_EQ(buffer[0], 'm');
    go_to("s1");
    ASSERT_EQ(::pread(reader.get(), buffer.data(), buffer.size(), 0), static_cast<ssize_t>(buffer.size()));
    EXPECT_EQ(buffer.find_first_not_of('a'), std::string::npos);
    EXPECT_EQ(run("sync -f " + current()).status, 0);
    EXPECT_EQ(read_all(current()).substr(0, 4 * kMiB).find_first_not_of('a'), std::string::npos);
  }
}

TEST_P(GotoTest, TheSizeFollows) {
  mount(GetParam());
  take("small");
  ASSERT_OK(::truncate(current().c_str(), 24 * kMiB));
  write_at(current(), 20 * kMiB, "tail");
  take("big");
  Fd reader(::open(current().c_str(), O_RDONLY));
  for (int i = 0; i < 3; ++i) {
    go_to("small");
    EXPECT_EQ(stat_of(current()).st_size, static_cast<off_t>(16 * kMiB));
    EXPECT_EQ(::lseek(reader.get(), 0, SEEK_END), static_cast<off_t>(16 * kMiB));
    EXPECT_EQ(read_at(current(), 20 * kMiB, 4), "");
    EXPECT_EQ(stat_of(disk("big")).st_size, static_cast<off_t>(24 * kMiB));
    go_to("big");
    EXPECT_EQ(stat_of(current()).st_size, static_cast<off_t>(24 * kMiB));
    EXPECT_EQ(::lseek(reader.get(), 0, SEEK_END), static_cast<off_t>(24 * kMiB));
    EXPECT_EQ(read_at(current(), 20 * kMiB, 4), "tail");
  }
}

INSTANTIATE_TEST_SUITE_P(WithoutAndWithWritebackCache, GotoTest, ::testing::Values("", "-o writeback_cache"),
                         [](const auto& mode) { return std::string(mode.index == 0 ? "WriteThrough" : "Writeback"); });

}  // namespace
}  // namespace fvd::test
