// What may follow on a command line that is being typed: what the shells' completion of `fvd` asks for, so that one
// table of commands answers for all of them and they cannot fall behind it.
#ifndef FVD_CLI_COMPLETE_H_
#define FVD_CLI_COMPLETE_H_

#include <iosfwd>
#include <span>

#include "cli/cli.h"
#include "cli/command.h"

namespace fvd::cli {

// Prints what the last of `words` (what was typed after "fvd"; the last word may be empty) may become, one a line: the
// word, and after a tab its description where it has one. Instead of names of files there is a line ":images" or
// ":files", and the shell finds them. Prints nothing where it knows nothing. Reads an image only for the names of its
// snapshots, and like --force-share.
void complete(std::span<const Command* const> commands, const Arguments& words, std::ostream& out);

}  // namespace fvd::cli

#endif  // FVD_CLI_COMPLETE_H_
