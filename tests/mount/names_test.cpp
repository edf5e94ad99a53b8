// The layout of the mount and every way to change a name in it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "mount/mount_fixture.h"

namespace fvd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

int rename_with(const std::string& from, const std::string& to, unsigned flags) {
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
}

using NamesTest = MountTest;

TEST_F(NamesTest, ShowsTheLayoutOfTheContract) {
  mount();
  EXPECT_THAT(list(mount_point_), UnorderedElementsAre("current-state", "snapshots"));
  EXPECT_THAT(list(path("snapshots")), ElementsAre());
  EXPECT_EQ(stat_of(current()).st_mode & S_IFMT, static_cast<mode_t>(S_IFREG));
  EXPECT_EQ(stat_of(current()).st_size, static_cast<off_t>(16 * kMiB));
  EXPECT_ERRNO(ENOENT, ::access(path("parent").c_str(), F_OK));
  take("s1");
  take("s2");
  EXPECT_THAT(list(mount_point_), UnorderedElementsAre("current-state", "snapshots", "parent"));
  EXPECT_THAT(list(path("snapshots")), UnorderedElementsAre("s1", "s2"));
  EXPECT_THAT(list(snapshot("s1")), UnorderedElementsAre("disk.raw"));
  EXPECT_THAT(list(snapshot("s2")), UnorderedElementsAre("disk.raw", "parent"));
  EXPECT_EQ(target_of(path("parent")), "snapshots/s2");
  EXPECT_EQ(target_of(snapshot("s2") + "/parent"), "../s1");
  EXPECT_ERRNO(ENOENT, ::access((snapshot("s1") + "/parent").c_str(), F_OK));
  EXPECT_ERRNO(ENOENT, ::access(snapshot("current-state").c_str(), F_OK));
  EXPECT_EQ(stat_of(disk("s1")).st_size, static_cast<off_t>(16 * kMiB));
  EXPECT_EQ(stat_of(snapshot("s1")).st_nlink, 2U);
  EXPECT_EQ(stat_of(path("snapshots")).st_nlink, 4U);
  EXPECT_EQ(stat_of(snapshot("s2") + "/parent").st_size, 5);
}

TEST_F(NamesTest, DotFvdIsThereButNotListed) {
  mount();
  take("s1");
  EXPECT_THAT(list(path(".fvd")), UnorderedElementsAre("tree", "info.json", "metrics", "send"));
  EXPECT_EQ(tree(), "s1->(current-state)");
  EXPECT_EQ(run("ls -A " + mount_point_).out, "current-state\nparent\nsnapshots\n");
  for (const char* name : {"tree", "info.json", "metrics"}) {
    const CommandResult copied = run("cat " + path(".fvd/") + name);
    EXPECT_EQ(copied.status, 0);
    EXPECT_GT(copied.out.size(), 10U);
    EXPECT_ERRNO(EPERM, ::open(path(std::string(".fvd/") + name).c_str(), O_WRONLY));
  }
  EXPECT_EQ(run("python3 -m json.tool < " + path(".fvd/info.json")).status, 0);
  EXPECT_THAT(read_all(path(".fvd/info.json")), HasSubstr("\"line\": \"s1->(current-state)\""));
  const std::string metrics = read_all(path(".fvd/metrics"));
  EXPECT_THAT(metrics, HasSubstr("# TYPE fvd_"));
  EXPECT_THAT(metrics, HasSubstr("# HELP fvd_"));
}

TEST_F(NamesTest, RefusesNamesThatAreTakenReservedOrMalformed) {
  mount();
  take("s1");
  EXPECT_ERRNO(EEXIST, ::mkdir(snapshot("s1").c_str(), 0755));
  EXPECT_ERRNO(EEXIST, ::mkdir(snapshot("current-state").c_str(), 0755));
  EXPECT_ERRNO(EINVAL, ::mkdir(snapshot("a\nb").c_str(), 0755));
  EXPECT_ERRNO(EINVAL, ::mkdir(snapshot("a\x7f").c_str(), 0755));
  EXPECT_ERRNO(EINVAL, ::mkdir(snapshot("\xff\xfe").c_str(), 0755));
  EXPECT_ERRNO(ENAMETOOLONG, ::mkdir(snapshot(std::string(256, 'a')).c_str(), 0755));
  EXPECT_ERRNO(ENAMETOOLONG, ::mkdir(snapshot(std::string(2000, 'a')).c_str(), 0755));
  EXPECT_ERRNO(EINVAL, ::rename(snapshot("s1").c_str(), snapshot("a\tb").c_str()));
  EXPECT_ERRNO(ENAMETOOLONG, ::rename(snapshot("s1").c_str(), snapshot(std::string(256, 'b')).c_str()));
  EXPECT_OK(::mkdir(snapshot(std::string(255, 'a')).c_str(), 0755));
  EXPECT_OK(::mkdir(snapshot("Grüße mit Leerzeichen, \"quotes\" -> {x}").c_str(), 0755));
  EXPECT_OK(::mkdir(snapshot("-rf").c_str(), 0755));
}

TEST_F(NamesTest, RefusesToMakeAnythingElse) {
  mount();
  take("s1");
  for (const std::string& where : {path("new"), snapshot("s1") + "/new", path(".fvd/new")}) {
    EXPECT_ERRNO(EPERM, ::mkdir(where.c_str(), 0755)) << where;
  }
  for (const std::string& where : {path("new"), snapshot("new"), snapshot("s1") + "/new", path(".fvd/new")}) {
    EXPECT_ERRNO(EPERM, ::open(where.c_str(), O_CREAT | O_RDWR, 0644)) << where;
    EXPECT_ERRNO(EPERM, ::mknod(where.c_str(), S_IFIFO | 0644, 0)) << where;
    EXPECT_ERRNO(EPERM, ::mknod(where.c_str(), S_IFREG | 0644, 0)) << where;
    EXPECT_ERRNO(EPERM, ::symlink("x", where.c_str())) << where;
    EXPECT_ERRNO(EPERM, ::link(current().c_str(), where.c_str())) << where;
  }
  EXPECT_EQ(tree(), "s1->(current-state)");
}

TEST_F(NamesTest, RefusesToUnlinkAnything) {
  mount();
  take("s1");
  take("s2");
  for (const std::string& name :
       {current(), path("parent"), disk("s1"), snapshot("s2") + "/parent", path(".fvd/tree")}) {
    EXPECT_ERRNO(EPERM, ::unlink(name.c_str())) << name;
  }
  EXPECT_ERRNO(EPERM, ::rmdir(path("snapshots").c_str()));
  EXPECT_ERRNO(EPERM, ::rmdir(path(".fvd").c_str()));
  EXPECT_ERRNO(ENOTDIR, ::rmdir(current().c_str()));
  EXPECT_ERRNO(ENOENT, ::rmdir(snapshot("none").c_str()));
  EXPECT_ERRNO(ENOENT, ::rmdir(snapshot("current-state").c_str()));
}

TEST_F(NamesTest, RenamesSnapshotsAndNothingElse) {
  mount();
  write_at(current(), 0, "one");
  take("s1");
  take("s2");
  const struct stat before = stat_of(snapshot("s1"));
  ASSERT_OK(::rename(snapshot("s1").c_str(), snapshot("golden").c_str()));
  EXPECT_EQ(stat_of(snapshot("golden")).st_ino, before.st_ino);
  EXPECT_EQ(stat_of(snapshot("golden")).st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_EQ(read_at(disk("golden"), 0, 3), "one");
  EXPECT_EQ(tree(), "golden->s2->(current-state)");
  EXPECT_EQ(target_of(snapshot("s2") + "/parent"), "../golden");
  EXPECT_ERRNO(ENOENT, ::access(snapshot("s1").c_str(), F_OK));

  EXPECT_ERRNO(EEXIST, ::rename(snapshot("golden").c_str(), snapshot("s2").c_str()));
  EXPECT_ERRNO(EEXIST, rename_with(snapshot("golden"), snapshot("s2"), RENAME_NOREPLACE));
  EXPECT_ERRNO(ENOENT, ::rename(snapshot("none").c_str(), snapshot("x").c_str()));
  EXPECT_ERRNO(ENOENT, ::rename(snapshot("none").c_str(), snapshot("current-state").c_str()));
  EXPECT_ERRNO(EPERM, ::rename(snapshot("s2").c_str(), path("s2").c_str()));
  EXPECT_ERRNO(EPERM, ::rename(snapshot("s2").c_str(), (snapshot("golden") + "/s2").c_str()));
  EXPECT_ERRNO(EPERM, ::rename(current().c_str(), path("disk").c_str()));
  EXPECT_ERRNO(EPERM, ::rename(current().c_str(), snapshot("current-state").c_str()));
  EXPECT_ERRNO(EPERM, ::rename(path("snapshots").c_str(), path("other").c_str()));
  EXPECT_ERRNO(EPERM, ::rename(path("parent").c_str(), path("other").c_str()));
  EXPECT_ERRNO(EPERM, ::rename(disk("s2").c_str(), (snapshot("s2") + "/other").c_str()));
  EXPECT_ERRNO(EPERM, ::rename(disk("s2").c_str(), snapshot("other").c_str()));
  EXPECT_OK(::rename(snapshot("s2").c_str(), snapshot("s2").c_str()));
  EXPECT_EQ(tree(), "golden->s2->(current-state)");
}

TEST_F(NamesTest, RefusesFlagsOfRenameWithoutDisablingThem) {
  mount();
  take("s1");
  take("s2");
  EXPECT_ERRNO(EINVAL, rename_with(snapshot("s1"), snapshot("s2"), RENAME_EXCHANGE));
  EXPECT_ERRNO(EINVAL, rename_with(snapshot("s1"), snapshot("x"), RENAME_WHITEOUT));
  EXPECT_ERRNO(EINVAL, rename_with(snapshot("s1"), snapshot("x"), 1U << 7));
  // Had any of these been answered with ENOSYS, the kernel would refuse every flag from now on.
  EXPECT_OK(rename_with(snapshot("s1"), snapshot("x"), RENAME_NOREPLACE));
  EXPECT_EQ(tree(), "x->s2->(current-state)");
}

TEST_F(NamesTest, DeletesAndReparents) {
  mount();
  for (const char* name : {"s1", "s2", "s3", "s4"}) {
    write_at(current(), 0, name);
    take(name);
  }
  ASSERT_OK(::rmdir(snapshot("s2").c_str()));
  EXPECT_EQ(tree(), "s1->s3->s4->(current-state)");
  ASSERT_OK(::rmdir(snapshot("s4").c_str()));
  EXPECT_EQ(tree(), "s1->s3->(current-state)");
  EXPECT_EQ(target_of(path("parent")), "snapshots/s3");
  ASSERT_OK(::rmdir(snapshot("s1").c_str()));
  EXPECT_EQ(tree(), "s3->(current-state)");
  EXPECT_EQ(read_at(disk("s3"), 0, 2), "s3");
  EXPECT_EQ(read_at(current(), 0, 2), "s4");
  ASSERT_OK(::rmdir(snapshot("s3").c_str()));
  EXPECT_EQ(tree(), "(current-state)");
  EXPECT_ERRNO(ENOENT, ::access(path("parent").c_str(), F_OK));
}

TEST_F(NamesTest, DeletionIsBusyWhileTheDiskIsOpen) {
  mount();
  take("s1");
  Fd reader(::open(disk("s1").c_str(), O_RDONLY));
  ASSERT_GE(reader.get(), 0);
  EXPECT_ERRNO(EBUSY, ::rmdir(snapshot("s1").c_str()));
  EXPECT_EQ(tree(), "s1->(current-state)");
  // Renaming and going there do not need it closed.
  EXPECT_OK(::rename(snapshot("s1").c_str(), snapshot("s2").c_str()));
  go_to("s2");
  reader.reset();
  EXPECT_OK(::rmdir(snapshot("s2").c_str()));
}

TEST_F(NamesTest, DeletionNeverTripsOverAReaderThatIsGone) {
  mount();
  for (int i = 0; i < 100; ++i) {
    take("s");
    EXPECT_EQ(read_at(disk("s"), 0, 1).size(), 1U);
    ASSERT_OK(::rmdir(snapshot("s").c_str())) << i;
  }
}

TEST_F(NamesTest, RecursiveRemovalAndMovesAwayLeaveSnapshotsWhole) {
  mount();
  write_at(current(), 0, "precious");
  take("s1");
  CommandResult result = run("rm -r " + snapshot("s1"));
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("Operation not permitted"));
  EXPECT_EQ(run("rm -rf " + snapshot("s1")).status, 1);
  EXPECT_EQ(run("rm -rf " + path("snapshots")).status, 1);
  const std::string elsewhere = directory_ + "/elsewhere";
  result = run("mkdir " + elsewhere + " && mv " + snapshot("s1") + " " + elsewhere + "/");
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(read_at(elsewhere + "/s1/disk.raw", 0, 8), "precious");
  EXPECT_EQ(read_at(disk("s1"), 0, 8), "precious");
  EXPECT_EQ(run("rm -d " + snapshot("s1")).status, 1);
  EXPECT_EQ(tree(), "s1->(current-state)");
}

TEST_F(NamesTest, WorksWithTheToolsOfTheShell) {
  mount();
  EXPECT_EQ(run("mkdir -m 700 " + snapshot("a")).status, 0);
  EXPECT_EQ(stat_of(snapshot("a")).st_mode & 07777U, 0700U);
  EXPECT_EQ(run("mkdir -m 1555 " + snapshot("a1")).status, 0);
  EXPECT_EQ(stat_of(snapshot("a1")).st_mode & 07777U, 01555U);
  EXPECT_EQ(run("install -d -m 750 " + snapshot("b")).status, 0);
  EXPECT_EQ(run("mkdir -p -m 750 " + snapshot("c")).status, 0);
  EXPECT_EQ(run("mkdir -p " + snapshot("c")).status, 0);
  EXPECT_EQ(run("umask 077; mkdir " + snapshot("d")).status, 0);
  EXPECT_EQ(stat_of(snapshot("d")).st_mode & 07777U, 0700U);
  const CommandResult made = run("mktemp -d " + snapshot("tmp.XXXXXX"));
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(list(path("snapshots")).size(), 6U);
  // The first name of a path is taken, the second refused.
  EXPECT_EQ(run("mkdir -p " + snapshot("e/f")).status, 1);
  EXPECT_OK(::access(snapshot("e").c_str(), F_OK));
  EXPECT_EQ(run("mv " + snapshot("a") + " " + snapshot("b")).status, 1);
  EXPECT_EQ(run("mv -fT " + snapshot("a") + " " + snapshot("b")).status, 1);
  EXPECT_EQ(run("mv -T " + snapshot("a") + " " + snapshot("z")).status, 0);
  EXPECT_EQ(run("mv " + current() + " " + path("x")).status, 1);
  EXPECT_EQ(run("rmdir " + snapshot("z") + "/ " + snapshot("b")).status, 0);
  EXPECT_EQ(run("cp -r " + snapshot("c") + " " + snapshot("copy")).status, 1);
}

TEST_F(NamesTest, AcceptsChangesOfAttributesForTheLifeOfTheMount) {
  mount();
  write_at(current(), 0, "data");
  take("s1");
  for (const std::string& name : {current(), snapshot("s1"), disk("s1")}) {
    EXPECT_OK(::chmod(name.c_str(), 0640)) << name;
    EXPECT_EQ(stat_of(name).st_mode & 07777U, 0640U) << name;
    if (::geteuid() == 0) {
      EXPECT_OK(::chown(name.c_str(), 12, 34)) << name;
      EXPECT_EQ(stat_of(name).st_uid, 12U);
      EXPECT_EQ(stat_of(name).st_gid, 34U);
    }
    EXPECT_EQ(run("touch -d 2001-02-03T04:05:06Z " + name).status, 0);
    EXPECT_EQ(stat_of(name).st_mtime, 981173106) << name;
    EXPECT_EQ(run("touch " + name).status, 0) << name;
  }
  EXPECT_EQ(read_at(current(), 0, 4), "data");
  EXPECT_EQ(read_at(disk("s1"), 0, 4), "data");
  EXPECT_EQ(run("cp -p " + disk("s1") + " " + current()).status, 0);
  EXPECT_EQ(run("chmod 4755 " + current()).status, 0);
  EXPECT_EQ(stat_of(current()).st_mode & 07000U, 0U);
  for (const std::string& name : {mount_point_, path("snapshots"), path(".fvd/tree")}) {
    EXPECT_ERRNO(EPERM, ::chmod(name.c_str(), 0700)) << name;
  }
}

TEST_F(NamesTest, TimesTellWhenThingsHappened) {
  mount();
  const struct stat before = stat_of(current());
  EXPECT_EQ(run("sleep 0.02").status, 0);
  write_at(current(), 0, "x");
  EXPECT_GT(stat_of(current()).st_mtim.tv_sec * 1000000000LL + stat_of(current()).st_mtim.tv_nsec,
            before.st_mtim.tv_sec * 1000000000LL + before.st_mtim.tv_nsec);
  timespec start{};
  timespec end{};
  ::clock_gettime(CLOCK_REALTIME, &start);
  take("s1");
  ::clock_gettime(CLOCK_REALTIME, &end);
  const auto taken = stat_of(snapshot("s1")).st_mtim;
  EXPECT_GE(taken.tv_sec, start.tv_sec - 1);
  EXPECT_LE(taken.tv_sec, end.tv_sec);
  unmount();
  mount();
  EXPECT_EQ(stat_of(snapshot("s1")).st_mtim.tv_nsec, taken.tv_nsec);
}

TEST_F(NamesTest, InodeNumbersAreStableOverGotoAndRemount) {
  mount();
  take("s1");
  take("s2");
  const auto numbers = [this] {
    return std::vector<ino_t>{stat_of(current()).st_ino,
                              stat_of(snapshot("s1")).st_ino,
                              stat_of(disk("s1")).st_ino,
                              stat_of(disk("s2")).st_ino,
                              stat_of(snapshot("s2") + "/parent").st_ino,
                              stat_of(path("snapshots")).st_ino};
  };
  const auto before = numbers();
  go_to("s1");
  EXPECT_EQ(numbers(), before);
  unmount();
  mount();
  EXPECT_EQ(numbers(), before);
  // A number is never used for two things.
  EXPECT_OK(::rmdir(snapshot("s2").c_str()));
  take("s2");
  EXPECT_NE(stat_of(snapshot("s2")).st_ino, before[3] - 1);
}

TEST_F(NamesTest, ListsManySnapshotsOnceEachWhileTheyComeAndGo) {
  mount();
  for (int i = 0; i < 150; ++i) take("snapshot-with-a-rather-long-name-" + std::to_string(i));
  EXPECT_EQ(list(path("snapshots")).size(), 150U);
  const CommandResult deleted =
      run("cd " + path("snapshots") + " && for d in *; do rmdir $d || exit 1; done; ls | wc -l");
  EXPECT_EQ(deleted.out, "0\n") << deleted.err;
}

}  // namespace
}  // namespace fvd::test
