#include "fuse/stopper.h"

#include <fcntl.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <utility>

#include "fuse/apart.h"
#include "fuse/lowlevel.h"

namespace fvdfs {
namespace {

sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  return set;
}

void wake_only(int /*signal*/) {}

// Runs fusermount3 silently; true on exit status 0.
bool run_fusermount(const std::string& mount_point) {
  std::string program = "fusermount3";
  std::string unmount = "-u";
  std::string quiet = "-q";
  std::string end_of_options = "--";
  std::string path = mount_point;
  const std::array<char*, 6> argv{program.data(),        unmount.data(), quiet.data(),
                                  end_of_options.data(), path.data(),    nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return false;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

void Stopper::block_signals() {
  const sigset_t set = ending_signals();
  (void)::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Stopper::Stopper(fuse_session* session, std::string mount_point, std::function<void()> flush)
    : session_(session),
      mount_point_(std::move(mount_point)),
      flush_(std::move(flush)),
      session_thread_(::pthread_self()) {
  // Interrupts the loop's wait; the handler itself does nothing.
  struct sigaction action {};
  action.sa_handler = wake_only;
  (void)::sigaction(SIGUSR1, &action, nullptr);
  thread_ = std::thread([this] { loop(); });
}

Stopper::~Stopper() {
  done_ = true;
  (void)::pthread_kill(thread_.native_handle(), SIGTERM);  // blocked in every thread: it only ends the wait in loop()
  thread_.join();
}

bool Stopper::unmount() {
  int error = 0;
  // Writes back what is dirty, and so waits for this daemon.
  run_apart([&] { error = ::umount2(mount_point_.c_str(), UMOUNT_NOFOLLOW) == 0 ? 0 : errno; });
  return error == 0 || (error == EPERM && run_fusermount(mount_point_));
}

void Stopper::loop() {
  const sigset_t set = ending_signals();
  int signal = 0;
  while (::sigwait(&set, &signal) != 0) {
  }
  if (done_) return;
  spdlog::info("signal {}: unmounting", signal);
  flush_();
  if (!unmount()) {
    spdlog::warn("{} is in use; ending it all the same", mount_point_);
    fuse_session_exit(session_);
  }
  // The loop looks at the session before it waits, so one wake-up could come in between and be lost.
  while (!done_) {
    if (fuse_session_exited(session_) != 0) (void)::pthread_kill(session_thread_, SIGUSR1);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace fvdfs
