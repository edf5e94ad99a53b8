// The daemon itself: command line, start, refusals, and every way to end.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <pwd.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "fuse/errno_map.h"
#include "fuse/options.h"
#include "fvd/image.h"
#include "mount/mount_fixture.h"

namespace fvd::test {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class LifecycleTest : public MountTest {
 protected:
  static void expect_one_line(const CommandResult& result, int status) {
    EXPECT_EQ(result.status, status);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, StartsWith("fvdfs: "));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
  [[nodiscard]] std::string mount_line() const {
    std::ifstream mounts("/proc/self/mounts");
    for (std::string line; std::getline(mounts, line);) {
      if (line.find(" " + mount_point_ + " ") != std::string::npos) return line;
    }
    return {};
  }
  // Whether the image was closed as it should be.
  void expect_clean() const {
    OpenOptions options;
    options.read_only = true;
    auto image = Image::open(image_, options);
    ASSERT_TRUE(image) << image.status().message();
    EXPECT_TRUE((*image)->info().was_clean);
  }
};

TEST_F(LifecycleTest, ReturnsOnceTheMountAnswers) {
  for (int i = 0; i < 10; ++i) {
    mount();
    // No waiting: exit status 0 is the signal.
    EXPECT_EQ(stat_of(current()).st_size, static_cast<off_t>(16 * kMiB));
    EXPECT_THAT(mount_line(), StartsWith(image_ + " " + mount_point_ + " fuse.fvdfs rw,"));
    unmount();
    expect_clean();
  }
}

TEST_F(LifecycleTest, UsageErrorsExitWith2) {
  const std::string fvdfs = fvdfs_binary();
  for (const std::string& arguments :
       {std::string(), image_, image_ + " " + mount_point_ + " more", "--unknown " + image_ + " " + mount_point_,
        image_ + " " + mount_point_ + " -o unknown_option", image_ + " " + mount_point_ + " -o umask=9",
        image_ + " " + mount_point_ + " -o uid=me", "--log-level loud " + image_ + " " + mount_point_,
        "--force-share " + image_ + " " + mount_point_, "-f --log-target nowhere " + image_ + " " + mount_point_,
        "--log-target stderr " + image_ + " " + mount_point_,
        "--log-target syslog --log-file " + log_ + " " + image_ + " " + mount_point_}) {
    expect_one_line(run(fvdfs + " " + arguments), 2);
  }
  EXPECT_FALSE(mounted());
}

TEST_F(LifecycleTest, FailuresExitWith1AndSayWhy) {
  const std::string fvdfs = fvdfs_binary();
  CommandResult result = run(fvdfs + " " + directory_ + "/none.fvd " + mount_point_);
  expect_one_line(result, 1);
  EXPECT_THAT(result.err, HasSubstr("none.fvd"));
  result = run(fvdfs + " " + image_ + " " + directory_ + "/none");
  expect_one_line(result, 1);
  EXPECT_THAT(result.err, HasSubstr("No such file or directory"));
  expect_one_line(run(fvdfs + " " + image_ + " " + image_), 1);
  result = run(fvdfs + " " + mount_point_ + " " + image_);
  expect_one_line(result, 1);
  EXPECT_THAT(result.err, HasSubstr("the image comes first: fvdfs IMAGE MOUNTPOINT"));
  ASSERT_EQ(run("head -c 1M /dev/urandom > " + directory_ + "/noise").status, 0);
  expect_one_line(run(fvdfs + " " + directory_ + "/noise " + mount_point_), 1);
  expect_one_line(run(fvdfs + " --log-file /nonexistent/log " + image_ + " " + mount_point_), 1);
  expect_one_line(run(fvdfs + " --pidfile /nonexistent/pid " + image_ + " " + mount_point_), 1);
  expect_one_line(run(fvdfs + " -f " + directory_ + "/none.fvd " + mount_point_), 1);
  EXPECT_FALSE(mounted());
}

TEST_F(LifecycleTest, HelpManPageAndParserAgree) {
  const CommandResult help = run(fvdfs_binary() + " --help");
  EXPECT_EQ(help.status, 0);
  EXPECT_EQ(help.out, fvdfs::help_text());
  EXPECT_THAT(run(fvdfs_binary() + " --version").out, StartsWith("fvdfs "));
  std::ifstream in(std::string(FVD_SOURCE_DIR) + "/docs/man/fvdfs.1");
  std::ostringstream page;
  page << in.rdbuf();
  // Every option of one is in the other; in the page a hyphen is written "\-".
  std::string man = page.str();
  for (std::size_t at = 0; (at = man.find("\\-", at)) != std::string::npos;) man.replace(at, 2, "-");
  const auto words = [](const std::string& text) {
    std::vector<std::string> found;
    for (std::size_t at = text.find("--"); at != std::string::npos; at = text.find("--", at + 2)) {
      std::size_t end = at + 2;
      while (end < text.size() && (std::islower(static_cast<unsigned char>(text[end])) != 0 || text[end] == '-')) ++end;
      if (end > at + 3) found.push_back(text.substr(at, end - at));
    }
    return found;
  };
  for (const std::string& option : words(help.out)) EXPECT_THAT(man, HasSubstr(option));
  const std::size_t start = man.find(".SH OPTIONS");
  for (const std::string& option : words(man.substr(start, man.find(".SH USING") - start)))
    EXPECT_THAT(help.out, HasSubstr(option));
  for (const char* option : {"ro",          "rw",
                             "allow_other", "allow_root",
                             "uid=",        "gid=",
                             "umask=",      "default_permissions",
                             "shrink",      "writeback_cache",
                             "fsname=",     "subtype=",
                             "max_read=",   "max_readahead=",
                             "force_share", "auto_unmount",
                             "log_level=",  "log_file=",
                             "pidfile=",    "nosuid",
                             "noexec",      "noatime",
                             "dirsync",     "context="}) {
    EXPECT_THAT(help.out, HasSubstr(option));
    EXPECT_THAT(man, HasSubstr(option));
  }
  EXPECT_EQ(
      run("command -v man >/dev/null || exit 0; LC_ALL=C.UTF-8 MANROFFSEQ= man --warnings -E UTF-8 -l -Tutf8 -Z " +
          std::string(FVD_SOURCE_DIR) + "/docs/man/fvdfs.1 > /dev/null")
          .err,
      "");
}

TEST_F(LifecycleTest, EveryCodeHasItsErrno) {
  EXPECT_EQ(fvdfs::errno_of(Code::kOk), 0);
  EXPECT_EQ(fvdfs::errno_of(Code::kIo), EIO);
  EXPECT_EQ(fvdfs::errno_of(Code::kCorrupt), EIO);
  EXPECT_EQ(fvdfs::errno_of(Code::kNoSpace), ENOSPC);
  EXPECT_EQ(fvdfs::errno_of(Code::kExists), EEXIST);
  EXPECT_EQ(fvdfs::errno_of(Code::kNotFound), ENOENT);
  EXPECT_EQ(fvdfs::errno_of(Code::kBusy), EBUSY);
  EXPECT_EQ(fvdfs::errno_of(Code::kInvalid), EINVAL);
  EXPECT_EQ(fvdfs::errno_of(Code::kNameTooLong), ENAMETOOLONG);
  EXPECT_EQ(fvdfs::errno_of(Code::kTooMany), EMLINK);
  EXPECT_EQ(fvdfs::errno_of(Code::kReadOnly), EROFS);
  EXPECT_EQ(fvdfs::errno_of(Code::kNotPermitted), EPERM);
  EXPECT_EQ(fvdfs::errno_of(Code::kUnsupported), EOPNOTSUPP);
}

TEST_F(LifecycleTest, AnImageIsMountedOnce) {
  mount();
  const std::string second = directory_ + "/second";
  ASSERT_OK(::mkdir(second.c_str(), 0755));
  CommandResult result = run(fvdfs_binary() + " " + image_ + " " + second);
  expect_one_line(result, 1);
  EXPECT_THAT(result.err, HasSubstr("in use by another process"));
  expect_one_line(run(fvdfs_binary() + " -r " + image_ + " " + second), 1);
  expect_one_line(run(fvdfs_binary() + " " + image_ + " " + mount_point_), 1);
  result = run(fvdfs_binary() + " -r --force-share " + image_ + " " + second);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(stat_of(second + "/current-state").st_size, static_cast<off_t>(16 * kMiB));
  EXPECT_EQ(run("fusermount3 -u " + second).status, 0);
}

// A script's next command need not know that the daemon closes the image after umount has returned.
TEST_F(LifecycleTest, WhatFollowsAnUnmountWaitsForTheClose) {
  mount();
  for (int round = 0; round < 5; ++round) {
    {
      const Fd fd(::open(current().c_str(), O_RDWR));
      const std::string bytes(kMiB, static_cast<char>('a' + round));
      for (int i = 0; i < 16; ++i)
        ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), i * off_t{kMiB}), off_t{kMiB});
    }
    ASSERT_EQ(run("fusermount3 -u " + mount_point_).status, 0);
    const CommandResult again = try_mount("");
    ASSERT_EQ(again.status, 0) << again.err;
    read_pid_file();
  }
  unmount();
}

TEST_F(LifecycleTest, AReadOnlyMountChangesNothing) {
  mount();
  write_at(current(), 0, "data");
  take("s1");
  unmount();
  const std::string before = run("sha256sum " + image_).out;
  for (const char* options : {"-r", "-o ro", "--read-only"}) {
    mount(options);
    EXPECT_THAT(mount_line(), HasSubstr(" fuse.fvdfs ro,"));
    EXPECT_EQ(read_at(current(), 0, 4), "data");
    EXPECT_EQ(read_at(disk("s1"), 0, 4), "data");
    EXPECT_ERRNO(EROFS, ::mkdir(snapshot("s2").c_str(), 0755));
    EXPECT_ERRNO(EROFS, ::rmdir(snapshot("s1").c_str()));
    EXPECT_ERRNO(EROFS, ::rename(snapshot("s1").c_str(), snapshot("x").c_str()));
    EXPECT_ERRNO(EROFS, ::rename(snapshot("s1").c_str(), snapshot("current-state").c_str()));
    EXPECT_ERRNO(EROFS, ::unlink(disk("s1").c_str()));
    EXPECT_ERRNO(EROFS, ::open(current().c_str(), O_RDWR));
    EXPECT_ERRNO(EROFS, ::open(disk("s1").c_str(), O_RDWR));
    EXPECT_ERRNO(EROFS, ::open(path("new").c_str(), O_CREAT | O_RDWR, 0644));
    EXPECT_ERRNO(EROFS, ::truncate(current().c_str(), 32 * kMiB));
    EXPECT_ERRNO(EROFS, ::chmod(current().c_str(), 0600));
    EXPECT_EQ(run("setfattr -n user.fvd.hold -v 1 " + snapshot("s1")).status, 1);
    Fd fd(::open(current().c_str(), O_RDONLY));
    EXPECT_OK(::fsync(fd.get()));
    fd.reset();
    unmount();
  }
  EXPECT_EQ(run("sha256sum " + image_).out, before);
}

TEST_F(LifecycleTest, SignalsUnmountAndCloseTheImage) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    mount();
    write_at(current(), 0, "signal " + std::to_string(signal));
    ASSERT_OK(::kill(daemon_pid(), signal));
    wait_for_end();
    EXPECT_FALSE(mounted());
    expect_clean();
    mount();
    EXPECT_EQ(read_at(current(), 0, 8), "signal " + std::to_string(signal).substr(0, 1));
    unmount();
  }
}

TEST_F(LifecycleTest, ASignalSavesWhatTheKernelStillHeldAlsoWhileTheDiskIsOpen) {
  expect_quiet_log_ = false;
  mount("-o writeback_cache");
  Fd fd(::open(current().c_str(), O_RDWR));
  auto* map = static_cast<char*>(::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  std::memset(map, 'm', kMiB);
  ASSERT_EQ(::pwrite(fd.get(), "buffered", 8, 2 * kMiB), 8);
  ASSERT_OK(::kill(daemon_pid(), SIGTERM));
  wait_for_end();
  EXPECT_ERRNO(ENOTCONN, ::pread(fd.get(), map, 1, 8 * kMiB));
  ::munmap(map, kMiB);
  fd.reset();
  EXPECT_FALSE(mounted());
  expect_clean();
  mount();
  EXPECT_EQ(read_at(current(), 0, kMiB), std::string(kMiB, 'm'));
  EXPECT_EQ(read_at(current(), 2 * kMiB, 8), "buffered");
}

// Nothing of the daemon's own may be left in the mount when an operation has returned.
TEST_F(LifecycleTest, AnUnmountRightAfterAnOperationIsNotBusy) {
  for (int i = 0; i < 40; ++i) {
    mount();
    if (i == 0) take("s1");
    Fd(::open(current().c_str(), O_WRONLY | O_TRUNC)).reset();
    go_to("s1");
    const CommandResult result = run("fusermount3 -u " + mount_point_);
    ASSERT_EQ(result.status, 0) << result.err;
    wait_for_end();
  }
}

TEST_F(LifecycleTest, ALazyUnmountServesTheLastHolder) {
  mount();
  Fd fd(::open(current().c_str(), O_RDWR));
  EXPECT_EQ(run("fusermount3 -u " + mount_point_).status, 1) << "busy";
  ASSERT_EQ(run("fusermount3 -u -z " + mount_point_).status, 0);
  EXPECT_EQ(::pwrite(fd.get(), "late", 4, 0), 4);
  fd.reset();
  wait_for_end();
  expect_clean();
  mount();
  EXPECT_EQ(read_at(current(), 0, 4), "late");
}

TEST_F(LifecycleTest, AKilledDaemonLosesNothingThatWasSynced) {
  mount();
  {
    const Fd fd(::open(current().c_str(), O_RDWR));
    ASSERT_EQ(::pwrite(fd.get(), "synced", 6, 5 * kMiB), 6);
    ASSERT_OK(::fsync(fd.get()));
  }
  take("s1");
  ASSERT_OK(::kill(daemon_pid(), SIGKILL));
  // ECONNABORTED while the kernel is still taking the connection down.
  EXPECT_THAT(failure_of([&] { return ::access(current().c_str(), F_OK); }), ::testing::AnyOf(ENOTCONN, ECONNABORTED));
  for (int i = 0; i < 5000 && failure_of([&] { return ::access(current().c_str(), F_OK); }) != ENOTCONN; ++i)
    ::usleep(1000);
  const CommandResult over = run(fvdfs_binary() + " " + image_ + " " + mount_point_);
  expect_one_line(over, 1);
  EXPECT_THAT(over.err, HasSubstr("fusermount3 -u"));
  ASSERT_EQ(run("fusermount3 -u " + mount_point_).status, 0);
  ASSERT_OK(::unlink(pid_file_.c_str()));
  mount();
  EXPECT_EQ(read_at(current(), 5 * kMiB, 6), "synced");
  EXPECT_EQ(read_at(disk("s1"), 5 * kMiB, 6), "synced");
  EXPECT_THAT(read_all(path(".fvd/info.json")), HasSubstr("\"clean\": false"));
}

TEST_F(LifecycleTest, ForegroundStaysAndLogsToStandardError) {
  const std::string command = fvdfs_binary() + " -f --pidfile " + pid_file_ + " " + image_ + " " + mount_point_;
  const CommandResult result =
      run("(" + command + "; echo status $?) & for i in $(seq 500); do [ -e " + pid_file_ +
          " ] && break; sleep 0.01; done; cat " + path(".fvd/tree") + "; fusermount3 -u " + mount_point_ + "; wait");
  EXPECT_THAT(result.out, HasSubstr("(current-state)"));
  EXPECT_THAT(result.out, EndsWith("status 0\n"));
  EXPECT_THAT(result.err, HasSubstr("mounted at"));
  EXPECT_THAT(result.err, HasSubstr("closed"));
  expect_clean();
}

TEST_F(LifecycleTest, RelativePathsAndStrangeNamesWork) {
  const std::string strange = directory_ + "/a, b\\c d";
  ASSERT_EQ(run("mkdir '" + strange + "' && cp " + image_ + " '" + strange + "/x,y.fvd' && mkdir '" + strange + "/m n'")
                .status,
            0);
  const CommandResult result =
      run("cd '" + strange + "' && " + fvdfs_binary() +
          " --log-level info --log-file log --pidfile pid x,y.fvd 'm n' && cat 'm n/.fvd/tree' pid && grep -c "
          "fvdfs /proc/self/mounts; cat log; cp pid kept; fusermount3 -u 'm n'; ls");
  // It changes what is in the directory until then, which must not be removed meanwhile.
  pid_file_ = strange + "/kept";
  read_pid_file();
  pid_file_ = strange + "/pid";
  wait_for_end();
  EXPECT_THAT(result.out, StartsWith("(current-state)"));
  EXPECT_THAT(result.out, HasSubstr("x,y.fvd mounted at"));
  EXPECT_EQ(result.err, "");
}

// What a program prints must not go into the image that took the place of a closed descriptor.
TEST_F(LifecycleTest, ClosedStandardDescriptorsNeverBecomeTheImage) {
  const std::string tool = fvd_binary();
  ASSERT_EQ(run(tool + " snapshot create " + image_ + " s1").status, 0);
  const std::string before = read_all(image_);
  EXPECT_EQ(run(tool + " snapshot create " + image_ + " s1 2>&-").status, 1);
  EXPECT_EQ(run(tool + " check --repair " + image_ + " >&-").status, 1);
  EXPECT_TRUE(read_all(image_) == before);

  ASSERT_EQ(run(fvdfs_binary() + " --pidfile " + pid_file_ + " --log-level info --log-file " + log_ + " " + image_ +
                " " + mount_point_ + " <&- >&- 2>&-")
                .status,
            0);
  read_pid_file();
  write_at(current(), 0, "closed");
  take("s2");
  unmount();
  expect_clean();
  expect_sound();
}

TEST_F(LifecycleTest, OwnerAndPermissionsFollowTheImageOrTheOptions) {
  ASSERT_OK(::chmod(image_.c_str(), 0640));
  mount();
  EXPECT_EQ(stat_of(current()).st_mode & 07777U, 0640U);
  EXPECT_EQ(stat_of(current()).st_uid, ::getuid());
  take("s1");
  EXPECT_EQ(stat_of(disk("s1")).st_mode & 07777U, 0440U);
  unmount();
  mount("-o uid=1234,gid=4321,umask=027,allow_other");
  EXPECT_EQ(stat_of(current()).st_mode & 07777U, 0640U);
  EXPECT_EQ(stat_of(path("snapshots")).st_mode & 07777U, 0750U);
  EXPECT_EQ(stat_of(disk("s1")).st_uid, 1234U);
  EXPECT_EQ(stat_of(disk("s1")).st_gid, 4321U);
  EXPECT_THAT(mount_line(), HasSubstr("allow_other"));
  EXPECT_THAT(mount_line(), HasSubstr("default_permissions"));
}

TEST_F(LifecycleTest, WorksAsAMountHelper) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for mount(8)";
  // mount.fuse3 finds the program on the path that it sets itself, so it is named in full.
  const CommandResult result =
      run("PATH=" + std::string(FVD_BINARY_DIR) + ":$PATH mount -t fuse." + fvdfs_binary() + " " + image_ + " " +
          mount_point_ + " -o rw,nosuid,noatime,allow_other,pidfile=" + pid_file_);
  if (result.status != 0) {
    // Not every mount(8) takes a path as a subtype; the older syntax names the program before the source.
    const CommandResult older = run("mount -t fuse '" + fvdfs_binary() + "#" + image_ + "' " + mount_point_ +
                                    " -o rw,nosuid,noatime,allow_other,pidfile=" + pid_file_);
    ASSERT_EQ(older.status, 0) << result.err << older.err;
  }
  EXPECT_THAT(mount_line(), HasSubstr(" fuse.fvdfs rw,nosuid,noatime,"));
  write_at(current(), 0, "helper");
  read_pid_file();
  ASSERT_EQ(run("umount " + mount_point_).status, 0);
  wait_for_end();
  expect_clean();
}

TEST_F(LifecycleTest, AnImageThatCanOnlyBeReadIsMountedReadOnlyAndSaysSo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount a read-only directory";
  const std::string frozen = directory_ + "/frozen";
  ASSERT_OK(::mkdir(frozen.c_str(), 0755));
  ASSERT_EQ(run("mount --bind " + directory_ + " " + frozen + " && mount -o remount,bind,ro " + frozen).status, 0);
  extra_mounts_.push_back(frozen);
  const CommandResult refused = run(fvdfs_binary() + " " + frozen + "/disk.fvd " + mount_point_);
  expect_one_line(refused, 1);
  EXPECT_THAT(refused.err, HasSubstr("with -r"));
  image_ = frozen + "/disk.fvd";
  mount("-r");
  EXPECT_EQ(read_at(current(), 0, 3), std::string(3, '\0'));
}

TEST_F(LifecycleTest, TakesTheOptionsThatFuseFileSystemsHaveInCommon) {
  mount("-o 'fsname=my\\,disk,subtype=mine,max_read=8192,nonempty'");
  EXPECT_THAT(mount_line(), StartsWith("my,disk " + mount_point_ + " fuse.mine rw,"));
  EXPECT_THAT(mount_line(), HasSubstr("max_read=8192"));
  write_at(current(), 0, std::string(kMiB, 'r'));
  EXPECT_EQ(read_at(current(), 0, kMiB), std::string(kMiB, 'r'));
  for (const char* bad : {"max_readahead=", "max_readahead=-1", "fsname=", "subtype=", "max_read=", "max_read=100",
                          "max_read=x", "fsname"}) {
    std::string error;
    EXPECT_FALSE(fvdfs::parse_options({"SRC", "DIR", "-o", bad}, &error)) << bad;
  }
}

TEST_F(LifecycleTest, TheKernelReadsAheadAsFarAsAsked) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may have the kernel read ahead further";
  const auto readahead = [this] {
    const CommandResult said = run("cat /sys/class/bdi/$(mountpoint -d " + mount_point_ + ")/read_ahead_kb");
    EXPECT_EQ(said.status, 0) << said.err;
    return said.out;
  };
  mount();
  if (::access("/sys/class/bdi", W_OK) != 0) GTEST_SKIP() << "sysfs cannot be written here";
  EXPECT_EQ(readahead(), "1024\n");
  unmount();
  mount("-o max_readahead=65536");
  EXPECT_EQ(readahead(), "64\n");
}

}  // namespace
}  // namespace fvd::test
