// Daemon: going to the background, and telling the caller how the start went.
//
// The process forks before any thread exists; the child opens and mounts, and the parent waits for its word on a pipe,
// so that the caller's exit status 0 means that the mount answers. Single-threaded until ready() is called.
#ifndef FVDFS_DAEMON_H_
#define FVDFS_DAEMON_H_

#include <string>

namespace fvdfs {

class Daemon {
 public:
  ~Daemon();
  Daemon() = default;
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Forks. Does not return in the parent: it exits with the child's verdict. False with errno when fork failed.
  bool go_to_background();
  // The mount answers: detaches from the terminal and lets the parent exit with 0. Without go_to_background(): tells
  // the service manager, where one waits for it (sd_notify(3): systemd's Type=notify). A child that ends without this
  // makes the parent exit with the child's own status.
  void ready();

 private:
  int pipe_ = -1;
};

// Writes this process's id to `path` (absolute); false with errno.
bool write_pid_file(const std::string& path);

// `path` made absolute against the current directory, without asking the file system.
std::string absolute_path(const std::string& path);
// `path` absolute and without symbolic links, as /proc/mounts will show it.
std::string resolved_path(const std::string& path);

}  // namespace fvdfs

#endif  // FVDFS_DAEMON_H_
