#include "cli/cli.h"

namespace fvd::cli {

int run(const Arguments&, const Streams&) { return kUsage; }

}  // namespace fvd::cli
