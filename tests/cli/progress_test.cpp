// What long jobs show, and how signals reach them.
#include "cli/progress.h"

#include <gmock/gmock.h>

#include <csignal>
#include <map>
#include <mutex>
#include <streambuf>
#include <thread>

#include "cli/pieces.h"
#include "cli_rig.h"

namespace fvd::test {
namespace {

// What is printed by one thread and looked at by another.
class SharedBuffer : public std::streambuf {
 public:
  std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 protected:
  int_type overflow(int_type c) override {
    const std::lock_guard lock(mutex_);
    text_ += static_cast<char>(c);
    return c;
  }
  std::streamsize xsputn(const char* bytes, std::streamsize count) override {
    const std::lock_guard lock(mutex_);
    text_.append(bytes, static_cast<std::size_t>(count));
    return count;
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

struct Rig {
  explicit Rig(bool bar = false) : streams{in, out, err, bar, false} {}
  std::istringstream in;
  std::ostringstream out;
  SharedBuffer said;
  std::ostream err{&said};
  cli::Streams streams;
};

// Asks for a line by the signal, waits for it, and returns all that was said.
std::string ask(Rig& rig) {
  const std::size_t before = rig.said.text().size();
  (void)std::raise(SIGUSR1);
  while (rig.said.text().find('\n', before) == std::string::npos) std::this_thread::yield();
  return rig.said.text().substr(before);
}

TEST(CliProgress, NothingInAPipe) {
  Rig rig;
  {
    cli::Progress progress(rig.streams, "convert");
    cli::Progress::Part part(progress, {}, 1000);
    part.advance(500);
  }
  EXPECT_EQ(rig.said.text(), "");
}

TEST(CliProgress, ASignalPrintsOneLineAtAnyTime) {
  Rig rig;
  cli::Progress progress(rig.streams, "convert");
  EXPECT_THAT(ask(rig), ::testing::MatchesRegex("fvd convert: [0-9]+ s so far\n"));
  {
    cli::Progress::Part part(progress, {}, 4 << 20);
    part.advance(1 << 20);
    part.advance(1 << 20);
    EXPECT_EQ(ask(rig), "fvd convert: 50% (2 MiB of 4 MiB)\n");
  }
  {
    const cli::Progress::Part part(progress, "closing the image");
    EXPECT_THAT(ask(rig), ::testing::MatchesRegex("fvd convert: closing the image, [0-9]+ s so far\n"));
  }
  cli::Progress::Part part(progress);
  part.advance(3 << 20);
  EXPECT_EQ(ask(rig), "fvd convert: 3 MiB so far\n");
  EXPECT_EQ(rig.out.str(), "");
}

TEST(CliProgress, TheLineReplacesTheBarThatIsThere) {
  Rig rig(true);
  cli::Progress progress(rig.streams, "convert");
  const cli::Progress::Part part(progress, {}, 4 << 20);
  EXPECT_EQ(rig.said.text().find("\rconvert [" + std::string(40, ' ') + "] 0% (0 B of 4 MiB)"), 0U);
  EXPECT_NE(ask(rig).find("\r\033[Kfvd convert: 0% (0 B of 4 MiB)\n"), std::string::npos);
}

TEST(CliProgress, WorkOfUnknownLengthHasALineOnATerminalOnceItIsLong) {
  Rig rig(true);
  cli::Progress progress(rig.streams, "snapshot delete");
  { const cli::Progress::Part part(progress); }
  EXPECT_EQ(rig.said.text(), "");
  const cli::Progress::Part part(progress, "closing the image");
  while (rig.said.text().empty()) std::this_thread::yield();
  EXPECT_EQ(rig.said.text().find("\rsnapshot delete: closing the image, "), 0U) << rig.said.text();
}

TEST(CliProgress, ASignalToEndIsSeenOnceAndForgotten) {
  Rig rig;
  cli::Progress progress(rig.streams, "convert");
  cli::Progress::Part part(progress, {}, 10);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const cli::Interruptible signals;
    EXPECT_OK(cli::interrupted());
    ASSERT_EQ(std::raise(signal), 0);
    EXPECT_CODE(Code::kBusy, cli::interrupted());
    const auto next = [](std::uint64_t offset) { return Result<Extent>(Extent{offset, 10, true}); };
    EXPECT_CODE(Code::kBusy, cli::in_pieces(10, next, part, [](const Extent&, std::span<std::byte>) {
                  return Status(Code::kCorrupt, "never called");
                }));
  }
  const cli::Interruptible again;
  EXPECT_OK(cli::interrupted());
}

TEST(CliProgress, WhatIsStartedWithNohupOutlivesItsTerminal) {
  auto* const before = std::signal(SIGHUP, SIG_IGN);
  {
    const cli::Interruptible signals;
    ASSERT_EQ(std::raise(SIGHUP), 0);
    EXPECT_OK(cli::interrupted());
  }
  EXPECT_EQ(std::signal(SIGHUP, before), SIG_IGN);
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
  cli::Progress progress(rig.streams, "convert");
  {
    cli::Progress::Part part(progress, {}, kSize);
    EXPECT_OK(cli::in_pieces(kSize, next, part, [&](const Extent& piece, std::span<std::byte> buffer) {
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

  cli::Progress::Part part(progress, {}, kSize);
  EXPECT_CODE(Code::kCorrupt, cli::in_pieces(kSize, next, part, [&](const Extent& piece, std::span<std::byte>) {
                return piece.offset == 0 ? Status(Code::kCorrupt, "bad") : Status::ok();
              }));
}

}  // namespace
}  // namespace fvd::test
