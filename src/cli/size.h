// Sizes as people write them on a command line, in the notation of qemu-img.
#ifndef FVD_CLI_SIZE_H_
#define FVD_CLI_SIZE_H_

#include <cstdint>
#include <string>

#include "fvd/status.h"

namespace fvd::cli {

// Bytes of `text`: digits, an optional fraction, and an optional suffix B, K, M, G, T, P or E in either case (powers of
// 1024), for example "20G", "1.5g", "512". A fraction needs a suffix other than B; what is left of it below a byte is
// cut. kInvalid for anything else, and for what does not fit 64 bits.
Result<std::uint64_t> parse_size(const std::string& text);

}  // namespace fvd::cli

#endif  // FVD_CLI_SIZE_H_
