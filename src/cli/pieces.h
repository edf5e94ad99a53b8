// Going over a disk in pieces, by a few threads at once.
#ifndef FVD_CLI_PIECES_H_
#define FVD_CLI_PIECES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "cli/progress.h"
#include "fvd/image.h"

namespace fvd::cli {

inline constexpr std::size_t kPieceBytes = 2 << 20;  // at most, and never across a multiple of it
inline constexpr std::size_t kZeroGrain = 4096;      // zeros are told from data in these steps

// What there is at an offset; only one thread asks at a time, ascending.
using NextExtent = std::function<Result<Extent>(std::uint64_t offset)>;
// Works on one piece: `extent.length` bytes, at most kPieceBytes where there is data. Called by several threads at
// once; `buffer` is the thread's own and holds kPieceBytes.
using PieceWork = std::function<Status(const Extent& extent, std::span<std::byte> buffer)>;

// Calls `work` once for each piece of [0, size). After a failure, or a signal that asks for the end, no new piece is
// begun; returns when all have ended, with the first failure.
Status in_pieces(std::uint64_t size, const NextExtent& next, Progress::Part& progress, const PieceWork& work);

bool is_zero(std::span<const std::byte> bytes);
// Calls visit(offset in `bytes`, run, zero) for each run of blocks of kZeroGrain that are all zero, or all not, until
// one fails.
Status in_runs(std::span<const std::byte> bytes,
               const std::function<Status(std::uint64_t, std::span<const std::byte>, bool)>& visit);

}  // namespace fvd::cli

#endif  // FVD_CLI_PIECES_H_
