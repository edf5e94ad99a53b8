// What is a terminal.
#ifndef FVD_CLI_TERMINAL_H_
#define FVD_CLI_TERMINAL_H_

#include <iosfwd>

namespace fvd::cli {

// Whether the stream is the process's own standard one and that is a terminal.
bool is_terminal(const std::istream& in);
bool is_terminal(const std::ostream& out);

}  // namespace fvd::cli

#endif  // FVD_CLI_TERMINAL_H_
