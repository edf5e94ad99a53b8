#include "check/check.h"

#include <optional>

#include "check/checker.h"
#include "check/v1_check.h"

namespace fvd {
namespace {

using Mend = Checker::Mend;

std::string plural(std::uint64_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

}  // namespace

Result<CheckReport> check_image(File& file, const CheckProgress& progress) {
  const auto version_1 = is_v1_image(file);
  if (!version_1) return version_1.status();
  return *version_1 ? check_v1_image(file) : Checker(file, false, progress).run();
}

Result<RepairReport> repair_image(File& file, const RepairOptions& options) {
  RepairReport report;
  const auto version_1 = is_v1_image(file);
  if (!version_1) return version_1.status();
  if (*version_1) {
    auto found = check_v1_image(file);
    if (!found) return found.status();
    report.before = report.after = std::move(*found);
    if (report.after.exit_status() != 0) {
      report.refused = "nothing in a version 1 image can be derived anew; copy out what can be read";
    }
    return report;
  }
  std::optional<Checker> checker(std::in_place, file, false, options.progress);
  auto before = checker->run();
  if (!before) return before.status();
  report.before = *before;
  report.after = *before;
  if (before->exit_status() == 0) return report;

  const std::uint64_t beyond = checker->findings_for(Mend::kNothing);
  const std::uint64_t older = checker->findings_for(Mend::kOlderSuperblock);
  if (beyond != 0 && options.older_superblock) {
    checker.emplace(file, true, options.progress);
    auto as_older = checker->run();
    if (!as_older) return as_older.status();
    if (checker->findings_for(Mend::kNothing) != 0) {
      report.refused = "the older superblock is no better (" + checker->first_beyond_repair() +
                       "); copy out the states that can be read";
      return report;
    }
  } else if (beyond != 0) {
    report.refused = plural(beyond, "finding") + " cannot be mended (the first: " + checker->first_beyond_repair() +
                     "); copy out the states that can be read, or try --older-superblock, which gives up what came "
                     "after the superblock before";
    return report;
  } else if (older != 0 && !options.older_superblock) {
    report.refused =
        "a newer superblock may be gone, and what it made durable with it; --older-superblock accepts that loss and "
        "goes on from the one that is left";
    return report;
  }
  if (Status s = checker->check_writable(); !s) {
    report.refused = s.message();
    return report;
  }
  if (Status s = checker->mend(&report.done); !s) return s;
  Checker again(file, false, options.progress);
  auto after = again.run();
  if (!after) return after.status();
  report.after = std::move(*after);
  if (Status s = checker->give_back(again); !s) return s;
  return report;
}

}  // namespace fvd
