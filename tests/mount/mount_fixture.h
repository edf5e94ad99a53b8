// MountTest: an image and its mount in a directory of their own, for tests through real system calls.
//
// The daemon is the built one (environment FVDFS_BINARY, else the build directory's). Nothing outlives a test: the
// mount is taken down, the daemon killed by its id if it does not end, the directory removed. Whatever may touch a dead
// mount runs under a timeout: the process's own alarm ends a test that hangs.
#ifndef FVD_TESTS_MOUNT_MOUNT_FIXTURE_H_
#define FVD_TESTS_MOUNT_MOUNT_FIXTURE_H_

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "fvd/image.h"

namespace fvd::test {

struct CommandResult {
  int status = -1;  // exit status; 124 = timed out
  std::string out;  // standard output
  std::string err;
};
// Runs a shell command line, for at most 30 seconds.
CommandResult run(const std::string& command);

// A descriptor that closes itself; -1 with errno where opening failed.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { reset(); }
  Fd(Fd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Fd& operator=(Fd&&) = delete;
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  void reset();

 private:
  int fd_;
};

class MountTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kMiB = 1U << 20;

  void SetUp() override;
  void TearDown() override;

  // Makes the image anew; the default is made by SetUp: 16 MiB.
  void create_image(std::uint64_t virtual_size);
  void create_image(CreateOptions options);
  // `fvd check` finds nothing.
  void expect_sound();
  // Runs fvdfs with `options` before the image, waits for its exit status and fails the test if it is not 0.
  void mount(const std::string& options = "");
  CommandResult try_mount(const std::string& options = "");
  // Unmounts and waits until the daemon has closed the image; its log must hold no complaint. TearDown does so too.
  void unmount();
  // Kills the daemon (SIGKILL) and waits for its end; the dead mount stays until remove_dead_mount().
  void kill_daemon();
  // REQUIRES that the caller's own descriptors are closed.
  void remove_dead_mount();
  void wait_for_end();   // of the daemon
  void read_pid_file();  // after a mount by other means
  [[nodiscard]] bool mounted() const;
  [[nodiscard]] pid_t daemon_pid() const;

  [[nodiscard]] std::string path(const std::string& name) const { return mount_point_ + "/" + name; }
  [[nodiscard]] std::string current() const { return path("current-state"); }
  [[nodiscard]] std::string snapshot(const std::string& name) const { return path("snapshots/" + name); }
  [[nodiscard]] std::string disk(const std::string& name) const { return snapshot(name) + "/disk.raw"; }

  // Each fails the test when the call fails.
  void take(const std::string& name);
  void go_to(const std::string& name);
  void write_at(const std::string& file, std::uint64_t offset, const std::string& data);
  static std::string read_at(const std::string& file, std::uint64_t offset, std::size_t size);
  static std::string read_all(const std::string& file);
  static struct stat stat_of(const std::string& file);
  [[nodiscard]] std::string tree() const;  // the first line of .fvd/tree
  static std::vector<std::string> list(const std::string& directory);
  static std::string target_of(const std::string& link);

  std::string directory_;
  std::string image_;
  std::string mount_point_;
  std::string log_;
  std::string pid_file_;
  bool expect_quiet_log_ = true;
  std::vector<std::string> extra_mounts_;  // taken down after the image's own mount

 private:
  pid_t pid_ = 0;
};

std::string fvdfs_binary();
std::string fvd_binary();

// Environment variable as a number, or `fallback`.
std::uint64_t number_from_environment(const char* name, std::uint64_t fallback);

// The errno of a call that answers -1; 0 when it succeeds.
template <typename Call>
int failure_of(const Call& call) {
  errno = 0;
  return call() == -1 ? errno : 0;
}

// That an expression fails with -1 and this errno.
#define EXPECT_ERRNO(expected, expression) \
  EXPECT_EQ(::fvd::test::failure_of([&] { return (expression); }), expected) << #expression << " "

#define ASSERT_OK(expression) ASSERT_EQ((expression), 0) << #expression << ": " << strerror(errno)
#define EXPECT_OK(expression) EXPECT_EQ((expression), 0) << #expression << ": " << strerror(errno)

}  // namespace fvd::test

#endif  // FVD_TESTS_MOUNT_MOUNT_FIXTURE_H_
