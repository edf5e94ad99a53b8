// Stopper: ends the session on SIGTERM, SIGINT or SIGHUP as an unmount would.
//
// A thread waits for the signal, has the kernel's dirty pages written, and unmounts, which makes the kernel flush, wait
// for what is under way and end the session. When the mount is in use it ends the session anyway; whoever holds files
// open then gets ENOTCONN. Made and destroyed by the thread that runs the session's loop.
#ifndef FVDFS_STOPPER_H_
#define FVDFS_STOPPER_H_

#include <pthread.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>

struct fuse_session;

namespace fvdfs {

class Stopper {
 public:
  // In the first thread, before any other is made.
  static void block_signals();

  Stopper(fuse_session* session, std::string mount_point, std::function<void()> flush);
  ~Stopper();
  Stopper(const Stopper&) = delete;
  Stopper& operator=(const Stopper&) = delete;

 private:
  void loop();
  bool unmount();

  fuse_session* session_;
  std::string mount_point_;
  std::function<void()> flush_;
  pthread_t session_thread_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace fvdfs

#endif  // FVDFS_STOPPER_H_
