// Progress: how far a command is. On a terminal a bar at the bottom; in a pipe nothing. SIGUSR1 prints one line, as it
// does with dd and qemu-img, at any time from construction to destruction: a thread of its own waits for it, so that
// also work that cannot say how far it is answers.
//
// One at a time in a process: it owns the handler of SIGUSR1. advance() and set() may be called from any thread, the
// rest from one.
#ifndef FVD_CLI_PROGRESS_H_
#define FVD_CLI_PROGRESS_H_

#include <semaphore.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "cli/cli.h"
#include "fvd/status.h"

namespace fvd::cli {

class Progress {
 public:
  // `what` names the command, for example "snapshot delete".
  Progress(const Streams& streams, std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // A part of the command that may take long, while it lives; one at a time. Only meanwhile is there a bar, so nothing
  // else may be printed.
  class Part {
   public:
    // `doing` says what in a few words, "" = what the command is for; `total` is its size in bytes, 0 = not known.
    explicit Part(Progress& progress, std::string doing = {}, std::uint64_t total = 0);
    ~Part();  // takes the bar off the terminal
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;

    void advance(std::uint64_t bytes);
    // For work that says where it is.
    void set(std::uint64_t done, std::uint64_t total);

   private:
    Progress& progress_;
  };

 private:
  using Clock = std::chrono::steady_clock;

  void watch();
  void show_at_once();
  void print_line();
  void draw();                             // drawing_ is held
  [[nodiscard]] std::string text() const;  // ditto; "45% (1.2 GiB of 2.7 GiB)", "closing the image, 3 s so far"

  const Streams& streams_;
  const std::string what_;
  const Clock::time_point began_;
  std::atomic<std::uint64_t> total_{0};
  std::atomic<std::uint64_t> done_{0};
  std::atomic<bool> shown_{false};  // the part has a bar, or needs none
  std::atomic<bool> ended_{false};
  std::mutex drawing_;
  bool in_part_ = false;          // under drawing_, as all below
  std::string doing_;             //
  Clock::time_point part_began_;  //
  std::string drawn_;             // the bar as it is on the terminal, "" = none
  struct sigaction old_ {};
  std::thread watcher_;
};

// While it lives, SIGINT, SIGTERM and SIGHUP (unless it is ignored, as nohup has it) ask the command to end and clean
// up after itself (a second one kills); else they end it at once, which no image minds. One at a time in a process.
class Interruptible {
 public:
  Interruptible();
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

 private:
  std::array<struct sigaction, 3> old_{};
};

// kBusy once a signal has asked for the end. From any thread.
Status interrupted();

}  // namespace fvd::cli

#endif  // FVD_CLI_PROGRESS_H_
