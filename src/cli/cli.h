// fvd: the command line tool, as a function.
//
// Each command is a function of its arguments and of the streams that it is given, and returns the exit status, so that
// tests run it in process. A command opens the image, does one thing and closes it; nothing here is shared between
// threads.
#ifndef FVD_CLI_CLI_H_
#define FVD_CLI_CLI_H_

#include <iosfwd>
#include <string>
#include <vector>

namespace fvd::cli {

// What a command may read from and print to. `err` takes messages, one line each; results go to `out`.
struct Streams {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool progress_bar = false;  // `err` is a terminal
  bool colours = false;       // `out` is a terminal that takes them
};

using Arguments = std::vector<std::string>;

inline constexpr int kSuccess = 0;
inline constexpr int kFailure = 1;
inline constexpr int kUsage = 2;

// Runs `fvd ARGUMENTS` (without the program's own name) and returns its exit status.
int run(const Arguments& arguments, const Streams& streams);

}  // namespace fvd::cli

#endif  // FVD_CLI_CLI_H_
