// Random histories against a plain model of what an image must hold, on a disk without faults.
// FVD_TEST_SEED is the first seed, FVD_TEST_ROUNDS the number of histories, FVD_TEST_STEPS the length of each.
#include <gtest/gtest.h>

#include "support/history_runner.h"

namespace fvd::test {
namespace {

TEST(ModelHistory, ImageHoldsWhatTheModelHolds) {
  const std::uint64_t first = environment("FVD_TEST_SEED", 1);
  const std::uint64_t rounds = environment("FVD_TEST_ROUNDS", 150);
  const HistoryOptions options{.steps = environment("FVD_TEST_STEPS", 250)};
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) {
    const CreateOptions geometry = random_geometry(seed);
    const History history = random_history(seed, options);
    const Verdict verdict = run_history(geometry, history);
    if (verdict.empty()) continue;
    const auto run = [&geometry](const History& one) { return run_history(geometry, one); };
    const History shorter = shrink(history, run);
    FAIL() << "FVD_TEST_SEED=" << seed << ": " << verdict << "\nshrunk to " << shorter.size() << " steps on a disk of "
           << geometry.virtual_size << " bytes, chunk " << geometry.chunk_size << ", block " << geometry.block_size
           << ":\n"
           << describe(shorter) << run(shorter);
  }
}

}  // namespace
}  // namespace fvd::test
