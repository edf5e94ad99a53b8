// Long random histories on a disk that loses power and fails at random moments, again and again.
// FVD_TEST_SEED is the first seed, FVD_TEST_ROUNDS the number of histories, FVD_TEST_STEPS the length of each.
#include <gtest/gtest.h>

#include <iostream>

#include "support/history_runner.h"

namespace fvd::test {
namespace {

void run_rounds(const HistoryOptions& options, std::uint64_t default_rounds) {
  const std::uint64_t first = environment("FVD_TEST_SEED", 1);
  const std::uint64_t rounds = environment("FVD_TEST_ROUNDS", default_rounds);
  Tally tally;
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) {
    const CreateOptions geometry = random_geometry(seed);
    const History history = random_history(seed, options);
    const Verdict verdict = run_history(geometry, history, &tally);
    if (verdict.empty()) continue;
    const auto run = [&geometry](const History& one) { return run_history(geometry, one); };
    const History shorter = shrink(history, run);
    FAIL() << "FVD_TEST_SEED=" << seed << " FVD_TEST_STEPS=" << options.steps << ": " << verdict << "\nshrunk to "
           << shorter.size() << " steps on a disk of " << geometry.virtual_size << " bytes, chunk "
           << geometry.chunk_size << ", block " << geometry.block_size << ":\n"
           << describe(shorter) << run(shorter);
  }
  std::cout << "[     cuts ] " << rounds << " histories, " << tally.cuts << " power cuts, " << tally.survivors
            << " disks inspected, " << tally.errors << " I/O errors\n";
}

HistoryOptions options_of(bool cuts, bool errors) {
  return {.steps = environment("FVD_TEST_STEPS", 120), .cuts = cuts, .errors = errors};
}

TEST(CrashHistory, PowerCuts) { run_rounds(options_of(true, false), 120); }

TEST(CrashHistory, ErrorsOfTheDisk) { run_rounds(options_of(false, true), 60); }

TEST(CrashHistory, PowerCutsAndErrors) { run_rounds(options_of(true, true), 60); }

}  // namespace
}  // namespace fvd::test
