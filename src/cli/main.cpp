#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string_view>

#include "cli/cli.h"
#include "io/standard_descriptors.h"

namespace {

bool takes_colours() {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) != 0 && (no_colour == nullptr || *no_colour == '\0') && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

}  // namespace

int main(int argc, char** argv) {
  if (!fvd::occupy_standard_descriptors()) return fvd::cli::kFailure;
  // Asking for progress must not end a command that has not begun its work yet, or is past it.
  (void)std::signal(SIGUSR1, SIG_IGN);
  return fvd::cli::run(fvd::cli::Arguments(argv + 1, argv + argc),
                       {std::cin, std::cout, std::cerr, ::isatty(STDERR_FILENO) != 0, takes_colours()});
}
