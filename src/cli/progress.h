// Progress: how far a long job is. On a terminal a bar at the bottom; in a pipe nothing. SIGUSR1 prints one line, as it
// does with dd and qemu-img; SIGINT and SIGTERM ask the job to end and clean up after itself (a second one kills).
//
// One at a time in a process: it owns the handlers of these signals from construction to destruction. advance() and
// interrupted() may be called from any thread.
#ifndef FVD_CLI_PROGRESS_H_
#define FVD_CLI_PROGRESS_H_

#include <signal.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

#include "cli/cli.h"
#include "fvd/status.h"

namespace fvd::cli {

class Progress {
 public:
  // `what` names the job, for example "convert"; `total` is its size in bytes, 0 when that is not known yet.
  Progress(const Streams& streams, std::string what, std::uint64_t total = 0);
  ~Progress();  // takes the bar off the terminal
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::uint64_t bytes) { at(done_.fetch_add(bytes, std::memory_order_relaxed) + bytes); }
  // For jobs that say where they are.
  void set(std::uint64_t done, std::uint64_t total);
  // kBusy once a signal has asked for the end.
  [[nodiscard]] static Status interrupted();

 private:
  void at(std::uint64_t done);
  [[nodiscard]] std::string text(std::uint64_t done) const;  // "45% (1.2 GiB of 2.7 GiB)"
  void draw(std::uint64_t done);

  const Streams& streams_;
  const std::string what_;
  std::atomic<std::uint64_t> total_;
  std::atomic<std::uint64_t> done_{0};
  std::mutex drawing_;
  std::chrono::steady_clock::time_point next_draw_;  // under drawing_
  bool drawn_ = false;                               // ditto
  std::array<struct sigaction, 3> old_{};
};

}  // namespace fvd::cli

#endif  // FVD_CLI_PROGRESS_H_
