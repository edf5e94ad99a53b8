// Who gets what answer where the kernel checks permissions.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "mount/mount_fixture.h"

namespace fvd::test {
namespace {

class PermissionsTest : public MountTest {};

// The errno of an open by a process of that user and group.
int open_as(uid_t uid, gid_t gid, const std::string& file, int flags) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(0, nullptr) != 0 || ::setgid(gid) != 0 || ::setuid(uid) != 0) ::_exit(255);
    const int fd = ::open(file.c_str(), flags | O_CLOEXEC);
    ::_exit(fd < 0 ? errno : 0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(PermissionsTest, SnapshotsAnswerErofsToWhoMayWriteTheDiskAndEaccesToOthers) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become other users";
  if (::chmod(directory_.c_str(), 0755) != 0) GTEST_SKIP() << "others cannot get at the mount";
  ASSERT_OK(::chmod(image_.c_str(), 0640));
  for (const char* options : {"-o uid=1234,gid=4321,allow_other", "-o uid=1234,gid=4321,umask=007,allow_other",
                              "-o uid=1234,gid=4321,allow_other,default_permissions"}) {
    SCOPED_TRACE(options);
    mount(options);
    if (::access(snapshot("s1").c_str(), F_OK) != 0) take("s1");
    for (const int flags : {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC}) {
      EXPECT_EQ(open_as(0, 0, disk("s1"), flags), EROFS);
      EXPECT_EQ(open_as(1234, 4321, disk("s1"), flags), EROFS);
      EXPECT_EQ(open_as(1234, 4321, current(), flags), 0);
      EXPECT_EQ(open_as(1235, 1235, disk("s1"), flags), EACCES);
      EXPECT_EQ(open_as(1235, 1235, current(), flags), EACCES);
    }
    EXPECT_EQ(open_as(1234, 4321, disk("s1"), O_RDONLY), 0);
    EXPECT_EQ(open_as(1235, 4321, disk("s1"), O_RDONLY), 0);
    EXPECT_EQ(open_as(1235, 1235, disk("s1"), O_RDONLY), EACCES);
    unmount();
  }
  mount("-o uid=1234");
  EXPECT_EQ(open_as(0, 0, disk("s1"), O_RDWR), EROFS);
  EXPECT_EQ(stat_of(disk("s1")).st_mode & 0222U, 0U);
}

}  // namespace
}  // namespace fvd::test
