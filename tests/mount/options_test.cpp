// What the command line of fvdfs and the lists of mount options may hold, and what is said of mistakes in them.
#include "fuse/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <string>
#include <vector>

namespace fvd::test {
namespace {

// What is said of `options` before IMAGE and MOUNTPOINT; "" when they are taken.
std::string complaint(std::vector<std::string> options) {
  options.insert(options.end(), {"SRC", "DIR"});
  std::string error;
  const bool taken = fvdfs::parse_options(options, &error).has_value();
  EXPECT_EQ(taken, error.empty()) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  return error;
}

std::string suggestion(const std::vector<std::string>& options) {
  const std::string said = complaint(options);
  const std::size_t at = said.find("; did you mean ");
  return at == std::string::npos ? "" : said.substr(at + 15);
}

TEST(Options, ParsesWhatMountHelpersPass) {
  std::string error;
  auto options = fvdfs::parse_options({"SRC", "DIR", "-o", "rw,nosuid,allow_other,dev"}, &error);
  ASSERT_TRUE(options) << error;
  EXPECT_EQ(options->image, "SRC");
  EXPECT_EQ(options->mount_point, "DIR");
  EXPECT_TRUE(options->allow_other);
  EXPECT_THAT(options->mount_options, ::testing::ElementsAre("nosuid", "dev"));
  options = fvdfs::parse_options({"SRC", "DIR", "-n", "-v", "-s", "-o", "ro,noexec,nosuid,nodev,x-systemd.automount",
                                  "-o", "noauto,user,_netdev,umask=027,uid=7,gid=8,shrink"},
                                 &error);
  ASSERT_TRUE(options) << error;
  EXPECT_TRUE(options->read_only);
  EXPECT_TRUE(options->shrink);
  EXPECT_EQ(*options->umask, 027U);
  EXPECT_EQ(*options->uid, 7U);
  EXPECT_EQ(*options->gid, 8U);
  options = fvdfs::parse_options({"-o", "log_file=/a\\,b,pidfile=/p,log_level=debug", "SRC", "DIR"}, &error);
  ASSERT_TRUE(options) << error;
  EXPECT_EQ(options->log_file, "/a,b");
  EXPECT_EQ(options->pid_file, "/p");
  EXPECT_FALSE(fvdfs::parse_options({"SRC", "DIR", "-o", "remount"}, &error));
  options = fvdfs::parse_mount_helper_options(
      {"SRC", "DIR", "-s", "-f", "-n", "-v", "-o", "rw,log_target=journald", "-t", "fuse.fvdfs"}, &error);
  ASSERT_TRUE(options) << error;
  EXPECT_TRUE(options->fake);
  EXPECT_FALSE(options->foreground);
  EXPECT_EQ(options->log_target, "journald");
  EXPECT_EQ(options->mount_point, "DIR");
}

// As fstab has them; mount(8) and systemd leave many to the helper.
TEST(Options, PassesOnOrIgnoresWhatMountAndSystemdMean) {
  for (const char* option : {"ro",
                             "rw",
                             "suid",
                             "nosuid",
                             "dev",
                             "nodev",
                             "exec",
                             "noexec",
                             "sync",
                             "async",
                             "dirsync",
                             "atime",
                             "noatime",
                             "nodiratime",
                             "relatime",
                             "norelatime",
                             "strictatime",
                             "lazytime",
                             "auto",
                             "noauto",
                             "user",
                             "users",
                             "nouser",
                             "owner",
                             "group",
                             "_netdev",
                             "nofail",
                             "defaults",
                             "x-systemd.automount",
                             "x-systemd.requires-mounts-for=/srv",
                             "x-initrd.mount",
                             "x-gvfs-show",
                             "X-mount.mkdir",
                             "X-mount.owner=me",
                             "comment=x",
                             "context=a:b:c:d",
                             "allow_root",
                             "auto_unmount"}) {
    EXPECT_EQ(complaint({"-o", option}), "") << option;
  }
  EXPECT_EQ(complaint({"-o", "ro,nosuid,nodev,x-systemd.automount,_netdev,noauto,user"}), "");
}

TEST(Options, MistypedOnesGetASuggestion) {
  EXPECT_EQ(suggestion({"--log-leevl", "debug"}), "--log-level?");
  EXPECT_EQ(suggestion({"--log-leevl=debug"}), "--log-level?");
  EXPECT_EQ(suggestion({"--forground"}), "--foreground?");
  EXPECT_EQ(suggestion({"--pid-file=/p"}), "--pidfile?");
  EXPECT_EQ(suggestion({"--allow-other"}), "-o allow_other?");
  EXPECT_EQ(suggestion({"-o", "alow_other"}), "allow_other?");
  EXPECT_EQ(suggestion({"-o", "ro,allow-other"}), "allow_other?");
  EXPECT_EQ(suggestion({"-o", "loglevel=debug"}), "log_level=?");
  EXPECT_EQ(suggestion({"-o", "_netdve"}), "_netdev?");
  EXPECT_EQ(suggestion({"-o", "nosiud"}), "nosuid?");
  EXPECT_EQ(suggestion({"-o", "contxt=a"}), "context=?");
  EXPECT_EQ(suggestion({"-o", "uid"}), "uid=?");
  EXPECT_EQ(suggestion({"-o", "ro=1"}), "ro?");
  // Nothing far-fetched, and nothing that is not offered.
  EXPECT_EQ(suggestion({"-o", "frobnicate"}), "");
  EXPECT_EQ(suggestion({"-o", "remount"}), "");
  EXPECT_EQ(suggestion({"--frobnicate"}), "");
  EXPECT_EQ(suggestion({"--no-mtba"}), "");
  EXPECT_EQ(suggestion({"-x"}), "");
  EXPECT_THAT(complaint({"-o", std::string(5000, 'a')}), ::testing::StartsWith("unknown mount option 'aaa"));
}

// So that the list which suggestions come from stays that of what is understood.
TEST(Options, EachOneInTheHelpIsSuggested) {
  const std::string help = fvdfs::help_text();
  const std::string list = help.substr(help.find("Mount options (-o):"));
  const std::regex name("(?:^|\n) +((?:[a-z_]+(?:=[A-Za-z]*)?, )*[a-z_]+(?:=[A-Za-z]*)?)(?= {2}|,\n)");
  std::set<std::string> names;
  for (std::sregex_iterator at(list.begin(), list.end(), name), end; at != end; ++at) {
    const std::string line = (*at)[1];
    const std::regex one("[a-z_]+=?");
    for (std::sregex_iterator word(line.begin(), line.end(), one), none; word != none; ++word)
      names.insert(word->str());
  }
  EXPECT_GT(names.size(), 35U);
  for (const std::string& option : names) {
    if (option.size() < 4) continue;  // too short to be mistyped and still known
    std::string typed = option;
    typed.insert(2, "q");
    EXPECT_EQ(suggestion({"-o", typed + (option.ends_with('=') ? "1" : "")}), option + "?");
  }
}

}  // namespace
}  // namespace fvd::test
