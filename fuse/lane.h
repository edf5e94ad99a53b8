// Lane: one thread that runs jobs in order.
//
// Some requests have to talk back to the kernel before or after they are answered (flush its dirty pages, drop its
// caches), and that in turn needs worker threads of the same daemon. Were such requests to wait in the workers, enough
// of them at once would leave none to make progress. So they run here, and the workers never wait for the kernel.
// Thread-safe.
#ifndef FVDFS_LANE_H_
#define FVDFS_LANE_H_

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace fvdfs {

class Lane {
 public:
  Lane() = default;
  ~Lane() { stop(); }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  void start();  // after the daemon has forked
  void stop();   // runs what is queued, then ends the thread
  // A job that runs out of memory is given up, and a line in the log says so: who waits for it must be told by the job.
  void run(std::function<void()> job);
  [[nodiscard]] pid_t thread_id() const { return thread_id_.load(std::memory_order_acquire); }

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::atomic<pid_t> thread_id_{0};
  std::thread thread_;
};

}  // namespace fvdfs

#endif  // FVDFS_LANE_H_
