#include "cli/terminal.h"

#include <unistd.h>

#include <iostream>

namespace fvd::cli {

bool is_terminal(const std::istream& in) { return &in == &std::cin && ::isatty(STDIN_FILENO) == 1; }

bool is_terminal(const std::ostream& out) { return &out == &std::cout && ::isatty(STDOUT_FILENO) == 1; }

}  // namespace fvd::cli
