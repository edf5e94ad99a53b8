// CountingWriters: threads that write numbered writes to current-state through the mount, and what each was promised.
//
// One writer for each kind of access; each keeps count of what it asked for, what returned and what is durable. They
// outlive the mount that they write to: when the daemon dies each ends with an error, which is a failure only before
// expect_errors() was called. All public methods are thread-safe.
#ifndef FVD_TESTS_MOUNT_COUNTING_WRITERS_H_
#define FVD_TESTS_MOUNT_COUNTING_WRITERS_H_

#include <signal.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/counted_writes.h"

namespace fvd::test {

class CountingWriters {
 public:
  static constexpr std::size_t kCount = 5;
  using Bounds = std::vector<CountedWrites::Bounds>;
  using Numbers = std::array<std::uint64_t, kCount>;

  // What they write and where.
  static CountedWrites writes();
  // Without this a store into a mapping of a dead mount ends the process. Process-wide; returns what was set before.
  static struct sigaction survive_failed_stores();

  // Writer w goes on after number from[w].
  CountingWriters(std::string file, const Numbers& from);
  ~CountingWriters() { stop(); }
  CountingWriters(const CountingWriters&) = delete;
  CountingWriters& operator=(const CountingWriters&) = delete;

  void stop();
  void pause();  // all have closed the disk when it returns
  void resume();
  // What follows is compared with a new base, which holds everything so far. REQUIRES pause().
  void rebase();
  // Every writer has the disk open now, and keeps it open until pause() or stop(), or until it fails.
  [[nodiscard]] bool all_open() const { return open_ == kCount; }

  void expect_errors() { dying_ = true; }
  [[nodiscard]] bool dying() const { return dying_; }
  void fail(const std::string& text);  // unless errors are expected
  [[nodiscard]] std::string error();   // the first failure; "" = none

  [[nodiscard]] Bounds returned() const { return bounds(&State::returned); }
  [[nodiscard]] Bounds synced() const { return bounds(&State::synced); }
  [[nodiscard]] std::uint64_t issued(std::size_t writer) const { return states_[writer].issued; }
  // Everything that had returned by `then` is durable, in the mappings too where `mapped`.
  void note_synced(const Bounds& then, bool mapped);

 private:
  struct State {
    std::atomic<std::uint64_t> start = 0, issued = 0, returned = 0, synced = 0;
  };

  [[nodiscard]] Bounds bounds(std::atomic<std::uint64_t> State::*least) const;
  void run(std::size_t writer);
  bool write(std::size_t writer);  // until told to pause or stop (true), or until something fails
  bool lost(std::size_t writer, const char* what);

  const CountedWrites writes_ = writes();
  const std::string file_;
  std::array<State, kCount> states_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> paused_ = false;
  std::atomic<bool> stopped_ = false;
  std::atomic<bool> dying_ = false;
  std::atomic<std::size_t> open_ = 0;
  std::size_t running_ = 0;
  std::string error_;
  std::vector<std::thread> threads_;
};

}  // namespace fvd::test

#endif  // FVD_TESTS_MOUNT_COUNTING_WRITERS_H_
