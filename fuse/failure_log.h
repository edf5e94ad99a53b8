// FailureLog: which of many requests that fail alike, as they do on a full host, is worth a line in the log: the first,
// then one a minute at most, and one when requests work again. Thread-safe; reads no clock.
#ifndef FVDFS_FAILURE_LOG_H_
#define FVDFS_FAILURE_LOG_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace fvdfs {

class FailureLog {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kBetweenLines{60};
  // Requests that need no space go on while others fail, so one that works ends nothing until none has failed for long.
  static constexpr std::chrono::seconds kQuiet{10};

  // `what` failed: the line to log, if any.
  std::optional<std::string> failed(const std::string& what, Clock::time_point now);
  // A request to change something worked: the line to log, if any.
  std::optional<std::string> worked(Clock::time_point now);
  // Whether worked() has anything to say; costs nothing.
  [[nodiscard]] bool is_open() const { return open_.load(std::memory_order_relaxed); }

 private:
  std::mutex mutex_;
  std::atomic<bool> open_{false};               // failures were logged and not yet their end; changed under mutex_
  std::uint64_t unsaid_ = 0;                    // under mutex_, as all below: failures since the last line
  std::uint64_t total_ = 0;                     // since they began
  std::optional<Clock::time_point> last_line_;  // about a failure
  Clock::time_point last_failure_;
};

}  // namespace fvdfs

#endif  // FVDFS_FAILURE_LOG_H_
