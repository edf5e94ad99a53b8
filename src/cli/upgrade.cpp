// fvd upgrade: an original image (version 1) becomes one of today's version, in place.
#include <ostream>

#include "cli/command.h"
#include "cli/progress.h"

namespace fvd::cli {
namespace {

void declare_nothing(po::options_description&) {}

int run(const Invocation& invocation) {
  const std::string& path = invocation.operands[0];
  const auto upgraded = [&] {
    const Progress::Part part(invocation.progress);
    return Image::upgrade(path);
  }();
  if (!upgraded) return fail(invocation.streams, path, upgraded.status());
  invocation.streams.out << (*upgraded ? "upgraded " + one_line(path) + " to version 2\n"
                                       : one_line(path) + " is of version 2 already: nothing to do\n");
  return kSuccess;
}

}  // namespace

const Command kUpgrade{
    .name = "upgrade",
    .synopsis = "IMAGE",
    .summary = "bring an original FVD image (version 1) to today's version, in place",
    .example = "fvd upgrade old.fvd",
    .min_operands = 1,
    .max_operands = 1,
    .declare = declare_nothing,
    .run = run,
};

}  // namespace fvd::cli
