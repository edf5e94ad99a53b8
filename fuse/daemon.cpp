#include "fuse/daemon.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace fvdfs {
namespace {

// sd_notify(3)'s protocol in the little that is needed of it: a datagram to the socket that the environment names.
void tell_service_manager(std::string_view state) {
  const char* name = std::getenv("NOTIFY_SOCKET");
  if (name == nullptr) return;
  const std::string_view path(name);
  sockaddr_un address{};
  if ((!path.starts_with('/') && !path.starts_with('@')) || path.size() >= sizeof(address.sun_path)) return;
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  if (path.starts_with('@')) address.sun_path[0] = '\0';  // a name that is no file
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  (void)::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
                 static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size()));
  ::close(fd);
}

}  // namespace

Daemon::~Daemon() {
  if (pipe_ >= 0) ::close(pipe_);
}

bool Daemon::go_to_background() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return false;
  const pid_t child = ::fork();
  if (child < 0) {
    const int error = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    errno = error;
    return false;
  }
  if (child == 0) {
    ::close(ends[0]);
    pipe_ = ends[1];
    (void)::setsid();
    return true;
  }
  ::close(ends[1]);
  char word = 0;
  ssize_t count = 0;
  do {
    count = ::read(ends[0], &word, 1);
  } while (count < 0 && errno == EINTR);
  if (count == 1) ::_exit(0);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ::_exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
}

void Daemon::ready() {
  if (pipe_ < 0) {
    tell_service_manager("READY=1");
    return;
  }
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) (void)::dup2(null, fd);
    if (null > STDERR_FILENO) ::close(null);
  }
  (void)!::write(pipe_, "1", 1);
  ::close(pipe_);
  pipe_ = -1;
}

bool write_pid_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  const std::string text = std::to_string(::getpid()) + "\n";
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  ::close(fd);
  errno = error;
  return written;
}

std::string absolute_path(const std::string& path) {
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

std::string resolved_path(const std::string& path) {
  std::error_code error;
  const auto resolved = std::filesystem::canonical(path, error);
  return error ? absolute_path(path) : resolved.string();
}

}  // namespace fvdfs
