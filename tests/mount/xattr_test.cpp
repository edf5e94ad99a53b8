// The extended attributes user.fvd.* of the disk states.
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "mount/mount_fixture.h"

namespace fvd::test {
namespace {

class XattrTest : public MountTest {
 protected:
  static std::string get(const std::string& file, const std::string& name) {
    std::array<char, 8192> value{};
    const ssize_t size = ::getxattr(file.c_str(), ("user.fvd." + name).c_str(), value.data(), value.size());
    return size < 0 ? "errno " + std::to_string(errno) : std::string(value.data(), static_cast<std::size_t>(size));
  }
  static std::string none() { return "errno " + std::to_string(ENODATA); }
  static int set(const std::string& file, const std::string& name, const std::string& value, int flags = 0) {
    return ::setxattr(file.c_str(), ("user.fvd." + name).c_str(), value.data(), value.size(), flags);
  }
  static int remove(const std::string& file, const std::string& name) {
    return ::removexattr(file.c_str(), ("user.fvd." + name).c_str());
  }
  static std::vector<std::string> names(const std::string& file) {
    std::array<char, 4096> buffer{};
    const ssize_t size = ::listxattr(file.c_str(), buffer.data(), buffer.size());
    std::vector<std::string> result;
    for (ssize_t at = 0; at < size;) {
      result.emplace_back(buffer.data() + at);
      at += static_cast<ssize_t>(result.back().size() + 1);
    }
    std::sort(result.begin(), result.end());
    return result;
  }
};

TEST_F(XattrTest, TellAboutEachState) {
  mount();
  write_at(current(), 0, std::string(kMiB, '1'));
  take("s1");
  write_at(current(), 2 * kMiB, std::string(kMiB, '2'));
  take("s2");
  write_at(current(), 4 * kMiB, std::string(kMiB, '3'));

  for (const std::string& file : {snapshot("s1"), disk("s1")}) {
    EXPECT_EQ(get(file, "id"), "1");
    EXPECT_EQ(get(file, "parent"), none());
    EXPECT_EQ(get(file, "allocated"), std::to_string(kMiB));
    EXPECT_EQ(get(file, "exclusive"), "0");
    EXPECT_EQ(get(file, "description"), none());
    EXPECT_EQ(get(file, "hold"), none());
  }
  for (const std::string& file : {snapshot("s2"), disk("s2")}) {
    EXPECT_EQ(get(file, "id"), "2");
    EXPECT_EQ(get(file, "parent"), "s1");
    EXPECT_EQ(get(file, "allocated"), std::to_string(2 * kMiB));
  }
  EXPECT_EQ(get(current(), "id"), "0");
  EXPECT_EQ(get(current(), "parent"), "s2");
  EXPECT_EQ(get(current(), "allocated"), std::to_string(3 * kMiB));
  EXPECT_EQ(get(current(), "exclusive"), none());

  const std::string created = get(snapshot("s1"), "created");
  ASSERT_EQ(created.size(), 30U) << created;
  EXPECT_EQ(created[10], 'T');
  EXPECT_EQ(created.back(), 'Z');
  EXPECT_EQ(run("date -u -d " + created + " +%s").out, std::to_string(stat_of(snapshot("s1")).st_mtime) + "\n");
  EXPECT_EQ(get(current(), "created"), get(snapshot("s2"), "created"));

  EXPECT_EQ(names(snapshot("s1")),
            (std::vector<std::string>{"user.fvd.allocated", "user.fvd.created", "user.fvd.exclusive", "user.fvd.id"}));
  EXPECT_EQ(names(current()),
            (std::vector<std::string>{"user.fvd.allocated", "user.fvd.created", "user.fvd.id", "user.fvd.parent"}));
  EXPECT_TRUE(names(path("snapshots")).empty());
  EXPECT_TRUE(names(mount_point_).empty());
}

TEST_F(XattrTest, ExclusiveIsWhatDeletingWouldFree) {
  mount();
  write_at(current(), 0, std::string(2 * kMiB, '1'));
  take("s1");
  ASSERT_EQ(run(": > " + current()).status, 0);
  EXPECT_EQ(get(snapshot("s1"), "exclusive"), std::to_string(2 * kMiB));
}

TEST_F(XattrTest, ADescriptionCanBeSetReplacedAndRemovedAndStays) {
  mount();
  take("s1");
  const std::string text = "before the upgrade — with \"quotes\"";
  EXPECT_OK(set(snapshot("s1"), "description", text));
  EXPECT_EQ(get(snapshot("s1"), "description"), text);
  EXPECT_EQ(get(disk("s1"), "description"), text);
  EXPECT_EQ(names(snapshot("s1")).size(), 5U);
  EXPECT_ERRNO(EEXIST, set(snapshot("s1"), "description", "x", XATTR_CREATE));
  EXPECT_OK(set(snapshot("s1"), "description", text + "!", XATTR_REPLACE));
  EXPECT_ERRNO(EINVAL, set(snapshot("s1"), "description", std::string(4097, 'd')));
  EXPECT_OK(::rename(snapshot("s1").c_str(), snapshot("s2").c_str()));
  unmount();
  mount();
  EXPECT_EQ(get(snapshot("s2"), "description"), text + "!");
  EXPECT_OK(remove(snapshot("s2"), "description"));
  EXPECT_EQ(get(snapshot("s2"), "description"), none());
  EXPECT_ERRNO(ENODATA, remove(snapshot("s2"), "description"));
  EXPECT_ERRNO(ENODATA, set(snapshot("s2"), "description", "x", XATTR_REPLACE));
  EXPECT_EQ(run("setfattr -n user.fvd.description -v hello " + snapshot("s2")).status, 0);
  EXPECT_NE(run("getfattr -d " + snapshot("s2")).out.find("user.fvd.description=\"hello\""), std::string::npos);
}

TEST_F(XattrTest, AHeldSnapshotIsNotDeleted) {
  mount();
  take("s1");
  EXPECT_EQ(run("setfattr -n user.fvd.hold -v 1 " + snapshot("s1")).status, 0);
  EXPECT_EQ(get(snapshot("s1"), "hold"), "1");
  EXPECT_ERRNO(EBUSY, ::rmdir(snapshot("s1").c_str()));
  go_to("s1");
  EXPECT_OK(::rename(snapshot("s1").c_str(), snapshot("kept").c_str()));
  unmount();
  mount();
  EXPECT_ERRNO(EBUSY, ::rmdir(snapshot("kept").c_str()));
  EXPECT_ERRNO(EINVAL, set(snapshot("kept"), "hold", "perhaps"));
  EXPECT_EQ(run("setfattr -x user.fvd.hold " + snapshot("kept")).status, 0);
  EXPECT_EQ(get(snapshot("kept"), "hold"), none());
  EXPECT_ERRNO(ENODATA, remove(snapshot("kept"), "hold"));
  EXPECT_OK(::rmdir(snapshot("kept").c_str()));
}

TEST_F(XattrTest, EverythingElseIsRefused) {
  mount();
  take("s1");
  for (const char* name : {"id", "parent", "created", "allocated", "exclusive"}) {
    EXPECT_ERRNO(EPERM, set(snapshot("s1"), name, "1")) << name;
  }
  EXPECT_ERRNO(EPERM, remove(snapshot("s1"), "id"));
  EXPECT_ERRNO(EPERM, set(disk("s1"), "description", "x"));
  EXPECT_ERRNO(EPERM, set(disk("s1"), "hold", "1"));
  EXPECT_ERRNO(EPERM, set(current(), "description", "x"));
  EXPECT_EQ(get(snapshot("s1"), "unknown"), none());
  EXPECT_ERRNO(ENODATA, remove(snapshot("s1"), "unknown"));
  EXPECT_ERRNO(EOPNOTSUPP, set(snapshot("s1"), "unknown", "x"));
  EXPECT_ERRNO(EOPNOTSUPP, ::setxattr(current().c_str(), "user.other", "x", 1, 0));
  std::array<char, 4> small{};
  EXPECT_ERRNO(ENODATA, ::getxattr(current().c_str(), "user.other", small.data(), small.size()));
  EXPECT_ERRNO(EOPNOTSUPP, ::getxattr(current().c_str(), "security.other", small.data(), small.size()));
  EXPECT_ERRNO(ERANGE, ::getxattr(snapshot("s1").c_str(), "user.fvd.created", small.data(), small.size()));
  EXPECT_ERRNO(ERANGE, ::listxattr(snapshot("s1").c_str(), small.data(), small.size()));
  EXPECT_EQ(run("cp -a --sparse=never " + disk("s1") + " " + directory_ + "/copy").status, 0);
}

}  // namespace
}  // namespace fvd::test
