#include "mount/mount_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace fvd::test {
namespace {

using std::chrono::milliseconds;

template <typename Condition>
bool wait_for(Condition condition, milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return true;
}

// A process that nobody has waited for yet has ended all the same; not while a thread other than its first one is left,
// which still has its files open.
bool has_ended(pid_t pid) {
  const std::filesystem::path process = "/proc/" + std::to_string(pid);
  std::size_t threads = 0;
  std::error_code gone;
  for (std::filesystem::directory_iterator at(process / "task", gone), end; !gone && at != end; at.increment(gone))
    ++threads;
  if (threads > 1) return false;
  std::ifstream in(process / "stat");
  std::string line;
  if (!std::getline(in, line)) return true;
  const std::size_t name_end = line.rfind(')');
  return name_end != std::string::npos && line.size() > name_end + 2 && line[name_end + 2] == 'Z';
}

std::string file_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

CommandResult run(const std::string& command) {
  static int counter = 0;
  const std::string base = "/tmp/fvd-run-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
  CommandResult result;
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(0);
    const int out = ::open((base + ".out").c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    const int err = ::open((base + ".err").c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    (void)::dup2(out, STDOUT_FILENO);
    (void)::dup2(err, STDERR_FILENO);
    ::execlp("timeout", "timeout", "-k", "5", "30", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = file_text(base + ".out");
  result.err = file_text(base + ".err");
  (void)::unlink((base + ".out").c_str());
  (void)::unlink((base + ".err").c_str());
  return result;
}

void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

std::string fvdfs_binary() {
  const char* path = std::getenv("FVDFS_BINARY");
  return path != nullptr ? path : std::string(FVD_BINARY_DIR) + "/fvdfs";
}

std::string fvd_binary() {
  const char* path = std::getenv("FVD_BINARY");
  return path != nullptr ? path : std::string(FVD_BINARY_DIR) + "/fvd";
}

std::uint64_t number_from_environment(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : fallback;
}

void MountTest::SetUp() {
  if (::access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "no access to /dev/fuse";
  ::alarm(120);
  std::string name = "/tmp/fvd-mount-XXXXXX";
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  directory_ = name;
  image_ = directory_ + "/disk.fvd";
  mount_point_ = directory_ + "/mnt";
  log_ = directory_ + "/log";
  pid_file_ = directory_ + "/pid";
  ASSERT_OK(::mkdir(mount_point_.c_str(), 0755));
  create_image(16 * kMiB);
}

void MountTest::TearDown() {
  if (!directory_.empty()) {
    // Here and not in the test, whose descriptors are closed by now.
    if (mounted() && !HasFatalFailure()) unmount();
    if (mounted()) {
      (void)run("fusermount3 -u -z " + mount_point_);
      if (pid_ > 0 && !wait_for([this] { return has_ended(pid_); }, milliseconds(10000))) (void)::kill(pid_, SIGKILL);
    }
    if (HasFailure()) std::cerr << "daemon's log:\n" << file_text(log_);
    for (const std::string& mount : extra_mounts_) (void)run("umount -l " + mount);
    std::error_code error;
    std::filesystem::remove_all(directory_, error);
  }
  ::alarm(0);
}

void MountTest::create_image(std::uint64_t virtual_size) {
  CreateOptions options;
  options.virtual_size = virtual_size;
  create_image(options);
}

void MountTest::create_image(CreateOptions options) {
  options.overwrite = true;
  const Status status = Image::create(image_, options);
  ASSERT_TRUE(status) << status.message();
}

void MountTest::expect_sound() {
  const CommandResult result = run(fvd_binary() + " check " + image_);
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

CommandResult MountTest::try_mount(const std::string& options) {
  return run(fvdfs_binary() + " --log-level info --log-file " + log_ + " --pidfile " + pid_file_ + " " + options + " " +
             image_ + " " + mount_point_);
}

void MountTest::mount(const std::string& options) {
  const CommandResult result = try_mount(options);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out + result.err, "");
  ASSERT_TRUE(mounted());
  read_pid_file();
}

void MountTest::read_pid_file() {
  pid_ = 0;
  std::ifstream(pid_file_) >> pid_;
  ASSERT_GT(pid_, 0);
}

void MountTest::unmount() {
  // After an emptying open the daemon holds a descriptor of its own for a moment longer than the caller.
  CommandResult result;
  wait_for(
      [&] {
        result = run("fusermount3 -u " + mount_point_);
        return result.status == 0 || result.err.find("busy") == std::string::npos;
      },
      milliseconds(5000));
  ASSERT_EQ(result.status, 0) << result.err;
  wait_for_end();
  const std::string log = file_text(log_);
  EXPECT_NE(log.find(" closed"), std::string::npos) << log;
  if (expect_quiet_log_) {
    EXPECT_EQ(log.find(" warning: "), std::string::npos) << log;
    EXPECT_EQ(log.find(" error: "), std::string::npos) << log;
  }
}

void MountTest::kill_daemon() {
  ASSERT_OK(::kill(pid_, SIGKILL));
  ASSERT_TRUE(wait_for([this] { return has_ended(pid_); }, milliseconds(30000))) << "the daemon does not die";
}

void MountTest::remove_dead_mount() {
  CommandResult result;
  wait_for(
      [&] {
        result = run("fusermount3 -u " + mount_point_);
        return result.status == 0;
      },
      milliseconds(10000));
  ASSERT_EQ(result.status, 0) << result.err;
  (void)::unlink(pid_file_.c_str());
}

void MountTest::wait_for_end() {
  ASSERT_TRUE(wait_for([this] { return has_ended(pid_); }, milliseconds(30000))) << "the daemon does not end";
  EXPECT_NE(::access(pid_file_.c_str(), F_OK), 0) << "the pidfile is still there";
}

pid_t MountTest::daemon_pid() const { return pid_; }

bool MountTest::mounted() const {
  std::ifstream mounts("/proc/self/mounts");
  for (std::string source, target, rest; mounts >> source >> target && std::getline(mounts, rest);) {
    if (target == mount_point_) return true;
  }
  return false;
}

void MountTest::take(const std::string& name) { ASSERT_OK(::mkdir(snapshot(name).c_str(), 0755)) << name; }

void MountTest::go_to(const std::string& name) {
  ASSERT_OK(::rename(snapshot(name).c_str(), snapshot("current-state").c_str())) << name;
}

void MountTest::write_at(const std::string& file, std::uint64_t offset, const std::string& data) {
  const Fd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_GE(fd.get(), 0) << file << ": " << strerror(errno);
  ASSERT_EQ(::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(offset)), static_cast<ssize_t>(data.size()))
      << strerror(errno);
}

std::string MountTest::read_at(const std::string& file, std::uint64_t offset, std::size_t size) {
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_GE(fd.get(), 0) << file << ": " << strerror(errno);
  std::string data(size, '?');
  const ssize_t count = ::pread(fd.get(), data.data(), size, static_cast<off_t>(offset));
  EXPECT_GE(count, 0) << strerror(errno);
  data.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
  return data;
}

std::string MountTest::read_all(const std::string& file) { return file_text(file); }

struct stat MountTest::stat_of(const std::string& file) {
  struct stat st {};
  EXPECT_OK(::lstat(file.c_str(), &st)) << file;
  return st;
}

std::string MountTest::tree() const {
  const std::string text = read_all(path(".fvd/tree"));
  return text.substr(0, text.find('\n'));
}

std::vector<std::string> MountTest::list(const std::string& directory) {
  std::vector<std::string> names;
  DIR* dir = ::opendir(directory.c_str());
  EXPECT_NE(dir, nullptr) << directory << ": " << strerror(errno);
  if (dir == nullptr) return names;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(dir);
  return names;
}

std::string MountTest::target_of(const std::string& link) {
  std::array<char, 512> target{};
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  return length < 0 ? std::string("errno ") + std::to_string(errno)
                    : std::string(target.data(), static_cast<std::size_t>(length));
}

}  // namespace fvd::test
