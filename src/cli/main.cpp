#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string_view>

#include "cli/cli.h"
#include "io/standard_descriptors.h"

namespace {

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : value;
}

// A dumb terminal knows no escape sequences, which the bar is drawn with too.
bool takes_bar() { return ::isatty(STDERR_FILENO) != 0 && environment("TERM") != "dumb"; }

bool takes_colours() {
  return ::isatty(STDOUT_FILENO) != 0 && environment("NO_COLOR").empty() && !environment("TERM").empty() &&
         environment("TERM") != "dumb";
}

}  // namespace

int main(int argc, char** argv) {
  if (!fvd::occupy_standard_descriptors()) return fvd::cli::kFailure;
  // Asking for progress must not end a command that has not begun its work yet, or is past it.
  (void)std::signal(SIGUSR1, SIG_IGN);
  // A limit of the size of files fails the write, and what was made so far is taken away.
  (void)std::signal(SIGXFSZ, SIG_IGN);
  return fvd::cli::run(fvd::cli::Arguments(argv + 1, argv + argc),
                       {std::cin, std::cout, std::cerr, takes_bar(), takes_colours()});
}
