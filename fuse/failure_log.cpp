#include "fuse/failure_log.h"

#include <utility>

namespace fvdfs {

std::optional<std::string> FailureLog::failed(const std::string& what, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  ++unsaid_;
  ++total_;
  last_failure_ = now;
  if (last_line_ && now - *last_line_ < kBetweenLines) return std::nullopt;
  std::string line = what;
  if (unsaid_ > 1) line += " (" + std::to_string(unsaid_) + " failed requests since the last such line)";
  last_line_ = now;
  unsaid_ = 0;
  open_ = true;
  return line;
}

std::optional<std::string> FailureLog::worked(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (!open_ || now - last_failure_ < kQuiet) return std::nullopt;
  open_ = false;
  unsaid_ = 0;
  return "requests work again, after " + std::to_string(std::exchange(total_, 0)) + " that failed";
}

}  // namespace fvdfs
