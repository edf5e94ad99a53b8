// Runs random histories (history.h) on a TrackedImage.
#ifndef FVD_TESTS_SUPPORT_HISTORY_RUNNER_H_
#define FVD_TESTS_SUPPORT_HISTORY_RUNNER_H_

#include <cstdint>

#include "support/history.h"
#include "support/tracked_image.h"

namespace fvd::test {

struct Tally {
  std::uint64_t cuts = 0;
  std::uint64_t survivors = 0;  // disks that were inspected after cuts
  std::uint64_t errors = 0;     // faults that hit
};

// Runs a history on a new image, compares everything at the end, closes and checks. "" or what went wrong and where.
Verdict run_history(const CreateOptions& options, const History& history, Tally* tally = nullptr);

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_HISTORY_RUNNER_H_
