// What long jobs show, and how signals reach them.
#include "cli/progress.h"

#include <csignal>
#include <map>
#include <mutex>

#include "cli/pieces.h"
#include "cli_rig.h"

namespace fvd::test {
namespace {

struct Rig {
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  cli::Streams streams{in, out, err};
};

TEST(CliProgress, NothingInAPipe) {
  Rig rig;
  {
    cli::Progress progress(rig.streams, "convert", 1000);
    progress.advance(500);
  }
  EXPECT_EQ(rig.err.str(), "");
}

TEST(CliProgress, ASignalPrintsOneLine) {
  Rig rig;
  {
    cli::Progress progress(rig.streams, "convert", 4 << 20);
    progress.advance(1 << 20);
    ASSERT_EQ(std::raise(SIGUSR1), 0);
    progress.advance(1 << 20);
    progress.advance(1 << 20);
  }
  EXPECT_EQ(rig.err.str(), "fvd convert: 50% (2 MiB of 4 MiB)\n");
  EXPECT_EQ(rig.out.str(), "");
}

TEST(CliProgress, ASignalToEndIsSeenOnceAndForgotten) {
  Rig rig;
  {
    cli::Progress progress(rig.streams, "convert", 10);
    EXPECT_OK(cli::Progress::interrupted());
    ASSERT_EQ(std::raise(SIGTERM), 0);
    EXPECT_CODE(Code::kBusy, cli::Progress::interrupted());
    const auto next = [](std::uint64_t offset) { return Result<Extent>(Extent{offset, 10, true}); };
    EXPECT_CODE(Code::kBusy, cli::in_pieces(10, next, progress, [](const Extent&, std::span<std::byte>) {
                  return Status(Code::kCorrupt, "never called");
                }));
  }
  const cli::Progress another(rig.streams, "convert", 10);
  EXPECT_OK(cli::Progress::interrupted());
}

TEST(CliProgress, PiecesCoverEverythingOnceAndStopAtAFailure) {
  Rig rig;
  constexpr std::uint64_t kSize = 50 * kMiB + 12345;
  std::mutex mutex;
  std::map<std::uint64_t, std::uint64_t> seen;
  const auto next = [](std::uint64_t offset) {
    const bool data = offset / (7 * kMiB) % 2 == 0;
    return Result<Extent>(Extent{offset, 7 * kMiB - offset % (7 * kMiB), data});
  };
  {
    cli::Progress progress(rig.streams, "convert", kSize);
    EXPECT_OK(cli::in_pieces(kSize, next, progress, [&](const Extent& piece, std::span<std::byte> buffer) {
      EXPECT_TRUE(!piece.data || piece.length <= buffer.size());
      EXPECT_EQ(piece.data, piece.offset / (7 * kMiB) % 2 == 0);
      const std::lock_guard lock(mutex);
      seen[piece.offset] = piece.length;
      return Status::ok();
    }));
  }
  std::uint64_t at = 0;
  for (const auto& [offset, length] : seen) {
    EXPECT_EQ(offset, at);
    at += length;
  }
  EXPECT_EQ(at, kSize);

  cli::Progress progress(rig.streams, "convert", kSize);
  EXPECT_CODE(Code::kCorrupt, cli::in_pieces(kSize, next, progress, [&](const Extent& piece, std::span<std::byte>) {
                return piece.offset == 0 ? Status(Code::kCorrupt, "bad") : Status::ok();
              }));
}

}  // namespace
}  // namespace fvd::test
