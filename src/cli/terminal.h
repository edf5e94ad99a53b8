// What is a terminal, and the progress of a long command on one. For one thread.
#ifndef FVD_CLI_TERMINAL_H_
#define FVD_CLI_TERMINAL_H_

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>

namespace fvd::cli {

// Whether the stream is the process's own standard one and that is a terminal.
bool is_terminal(const std::istream& in);
bool is_terminal(const std::ostream& out);

// A line with how much is done, rewritten in place a few times a second and wiped out at the end. Silent where `err` is
// no terminal.
class ProgressLine {
 public:
  ProgressLine(std::ostream& err, std::string what);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void show(std::uint64_t done, std::uint64_t total);

 private:
  std::ostream& err_;
  const std::string what_;
  const bool visible_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace fvd::cli

#endif  // FVD_CLI_TERMINAL_H_
