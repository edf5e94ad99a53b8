// .fvd/send: the streams of snapshots, read from a mount while the disk is written.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <span>
#include <thread>

#include "mount_fixture.h"

namespace fvd::test {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class SendTest : public MountTest {
 protected:
  [[nodiscard]] std::string stream(const std::string& name) const { return path(".fvd/send/" + name); }
  [[nodiscard]] std::string file(const std::string& name) const { return directory_ + "/" + name; }

  void receive(const std::string& copy, const std::string& stream_file) {
    const CommandResult result = run("'" + fvd_binary() + "' receive '" + copy + "' < '" + stream_file + "'");
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(run("'" + fvd_binary() + "' check '" + copy + "'").status, 0);
  }
  // The content of a snapshot in an image that is not mounted.
  static std::string content_of(const std::string& image, const std::string& name) {
    OpenOptions how;
    how.read_only = true;
    auto opened = Image::open(image, how);
    EXPECT_TRUE(opened.is_ok()) << opened.status().message();
    if (!opened) return {};
    const auto info = (*opened)->find_snapshot(name);
    const auto reader = (*opened)->open_snapshot(info ? info->id : 0);
    EXPECT_TRUE(reader.is_ok()) << name;
    if (!reader) return {};
    std::string content((*reader)->virtual_size(), '\0');
    EXPECT_TRUE((*reader)->read(0, std::as_writable_bytes(std::span(content))).is_ok());
    return content;
  }
};

TEST_F(SendTest, AStreamReadUnderAWriterIsTheSnapshot) {
  mount();
  write_at(current(), 3 * kMiB, std::string(2 * kMiB, 'a'));
  write_at(current(), 16 * kMiB - 512, std::string(512, 'z'));
  take("s1");
  write_at(current(), 3 * kMiB + 8192, std::string(4096, 'b'));
  take("s2");
  std::atomic<bool> stop = false;
  std::atomic<int> writes = 0;
  std::thread writer([&] {
    const Fd fd(::open(current().c_str(), O_WRONLY));
    for (int i = 0; !stop; ++i) {
      const std::string block(4096, static_cast<char>('A' + i % 26));
      EXPECT_EQ(::pwrite(fd.get(), block.data(), block.size(), i % 4096 * 4096), 4096);
      if (i % 100 == 0) {
        EXPECT_EQ(::fdatasync(fd.get()), 0);
      }
      ++writes;
    }
  });
  while (writes < 50) std::this_thread::yield();
  const CommandResult first = run("cat '" + stream("s1") + "' > '" + file("s1") + "'");
  const CommandResult second = run("cat '" + stream("s1..s2") + "' > '" + file("s2") + "'");
  const CommandResult piped = run("dd if='" + stream("s2") + "' bs=4096 status=none | cat > '" + file("full") + "'");
  const CommandResult copied = run("cp '" + stream("s2") + "' '" + file("copied") + "'");
  stop = true;
  writer.join();
  for (const CommandResult& result : {first, second, piped, copied}) EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_LT(stat_of(file("s2")).st_size, 16384);
  EXPECT_TRUE(read_all(file("full")) == read_all(file("copied")));

  const std::string copy = file("copy.fvd");
  EXPECT_EQ(run("'" + fvd_binary() + "' create --chunk-size 64K '" + copy + "' 1M").status, 0);
  receive(copy, file("s1"));
  receive(copy, file("s2"));
  EXPECT_TRUE(content_of(copy, "s1") == read_all(disk("s1")));
  EXPECT_TRUE(content_of(copy, "s2") == read_all(disk("s2")));
  const std::string other = file("other.fvd");
  EXPECT_EQ(run("'" + fvd_binary() + "' create '" + other + "' 1M").status, 0);
  receive(other, file("full"));
  EXPECT_TRUE(content_of(other, "s2") == read_all(disk("s2")));

  unmount();
  EXPECT_EQ(run("'" + fvd_binary() + "' send -i s1 '" + image_ + "' s2 | cmp - '" + file("s2") + "'").status, 0)
      << "the tool writes the same";
}

TEST_F(SendTest, KeepsItsSnapshotsWhileItIsOpen) {
  mount();
  take("s1");
  take("s2");
  {
    const Fd fd(::open(stream("s1..s2").c_str(), O_RDONLY));
    ASSERT_GE(fd.get(), 0);
    EXPECT_ERRNO(EBUSY, ::rmdir(snapshot("s1").c_str()));
    EXPECT_ERRNO(EBUSY, ::rmdir(snapshot("s2").c_str()));
    EXPECT_OK(::rename(snapshot("s1").c_str(), snapshot("renamed").c_str()));
  }
  EXPECT_OK(::rmdir(snapshot("renamed").c_str()));
  EXPECT_ERRNO(ENOENT, ::open(stream("s1..s2").c_str(), O_RDONLY));
  EXPECT_ERRNO(ENOENT, ::open(stream("s1").c_str(), O_RDONLY));
  EXPECT_OK(::rmdir(snapshot("s2").c_str()));
}

TEST_F(SendTest, IsReadOnceFromItsBeginning) {
  mount();
  write_at(current(), 0, std::string(kMiB, 'x'));
  take("s1");
  EXPECT_EQ(stat_of(stream("s1")).st_size, 0);
  EXPECT_EQ(stat_of(stream("s1")).st_mode, S_IFREG | 0444U);
  const Fd one(::open(stream("s1").c_str(), O_RDONLY));
  const Fd two(::open(stream("s1").c_str(), O_RDONLY));
  ASSERT_GE(one.get(), 0);
  EXPECT_ERRNO(ESPIPE, ::lseek(one.get(), 0, SEEK_SET));
  std::string a(100, '\0');
  std::string b(100, '\0');
  EXPECT_ERRNO(ESPIPE, ::pread(one.get(), a.data(), a.size(), 0));
  EXPECT_EQ(::read(one.get(), a.data(), a.size()), 100);
  EXPECT_EQ(::read(two.get(), b.data(), b.size()), 100);
  EXPECT_EQ(a, b) << "each descriptor has a stream of its own";
  EXPECT_EQ(a.substr(0, 4), "FVDS");
  std::uint64_t total = 100;
  std::vector<char> rest(300000);
  for (ssize_t n = 0; (n = ::read(one.get(), rest.data(), rest.size())) > 0;) total += static_cast<std::uint64_t>(n);
  EXPECT_GT(total, kMiB);
  EXPECT_LT(total, kMiB + 4096);
  EXPECT_EQ(::read(one.get(), rest.data(), rest.size()), 0);
}

TEST_F(SendTest, ChangesNothing) {
  mount();
  take("s1");
  take("s2");
  EXPECT_THAT(list(path(".fvd/send")), UnorderedElementsAre("s1", "s2"));
  for (const char* name : {"s1", "s1..s2"}) {
    EXPECT_ERRNO(EPERM, ::open(stream(name).c_str(), O_WRONLY));
    EXPECT_ERRNO(EPERM, ::open(stream(name).c_str(), O_RDWR | O_TRUNC));
    EXPECT_ERRNO(EPERM, ::truncate(stream(name).c_str(), 0));
    EXPECT_ERRNO(EPERM, ::unlink(stream(name).c_str()));
    EXPECT_ERRNO(EPERM, ::chmod(stream(name).c_str(), 0600));
    EXPECT_ERRNO(EPERM, ::rename(stream(name).c_str(), stream("x").c_str()));
  }
  EXPECT_ERRNO(EPERM, ::open(stream("new").c_str(), O_WRONLY | O_CREAT, 0644));
  EXPECT_ERRNO(EPERM, ::mkdir(stream("new").c_str(), 0755));
  EXPECT_ERRNO(EPERM, ::rmdir(path(".fvd/send").c_str()));
  // Who may not read the disk may not read its stream.
  EXPECT_OK(::chmod(disk("s2").c_str(), 0400));
  EXPECT_EQ(stat_of(stream("s2")).st_mode & 0777U, 0400U);
  EXPECT_OK(::chmod(snapshot("s1").c_str(), 0700));
  EXPECT_EQ(stat_of(stream("s1")).st_mode & 0777U, 0400U);
  unmount();
  mount("-r");
  EXPECT_EQ(run("cat '" + stream("s1..s2") + "' | head -c 4").out, "FVDS");
  EXPECT_ERRNO(EROFS, ::open(stream("s1").c_str(), O_WRONLY));
}

TEST_F(SendTest, NamesWithTwoDotsInThem) {
  mount();
  const std::string long_name(255, 'n');
  for (const std::string& name : {std::string("a"), std::string("b..c"), std::string("a..b"), std::string("c"),
                                  std::string("..d"), long_name, long_name.substr(1) + "m"}) {
    take(name);
  }
  // The names of OLD and NEW as the stream holds them.
  const auto holds = [&](const std::string& name, const std::string& texts) {
    const CommandResult result = run("head -c 1000 '" + stream(name) + "'");
    EXPECT_EQ(result.status, 0) << name;
    EXPECT_THAT(result.out, HasSubstr(texts));
  };
  holds("a..b", "a..b");      // the snapshot of that name
  holds("a..b..c", "b..ca");  // since a, and not since a..b
  holds("a..b..b..c", "b..ca..b");
  holds("a....d", "..da");  // nothing is named "..d" split otherwise
  holds("c..a", "ac");
  holds(long_name + ".." + long_name.substr(1) + "m", "m" + long_name);
  for (const char* name : {"a..a", "..", "a..", "..a", "x", "a..x", "x..a", "a...b"}) {
    struct stat st {};
    if (std::string(name) == "..") continue;  // the kernel's own
    EXPECT_ERRNO(ENOENT, ::stat(stream(name).c_str(), &st));
  }
  struct stat st {};
  EXPECT_ERRNO(ENAMETOOLONG, ::stat(stream(std::string(600, 'x')).c_str(), &st));
}

}  // namespace
}  // namespace fvd::test
