#include "cli/terminal.h"

#include <unistd.h>

#include <iostream>
#include <utility>

#include "image/tree_text.h"

namespace fvd::cli {

bool is_terminal(const std::istream& in) { return &in == &std::cin && ::isatty(STDIN_FILENO) == 1; }

bool is_terminal(const std::ostream& out) {
  return (&out == &std::cout && ::isatty(STDOUT_FILENO) == 1) || (&out == &std::cerr && ::isatty(STDERR_FILENO) == 1);
}

ProgressLine::ProgressLine(std::ostream& err, std::string what)
    : err_(err), what_(std::move(what)), visible_(is_terminal(err)) {}

ProgressLine::~ProgressLine() {
  if (shown_) err_ << "\r\033[K" << std::flush;
}

void ProgressLine::show(std::uint64_t done, std::uint64_t total) {
  if (!visible_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + std::chrono::milliseconds(200);
  shown_ = true;
  const std::uint64_t percent = total == 0 ? 100 : done / (total / 100 + 1);
  err_ << "\r\033[K" << what_ << ": " << percent << "% of " << human_bytes(total) << std::flush;
}

}  // namespace fvd::cli
