// fvd check: the independent checker as a command. Its exit statuses are those of `qemu-img check`.
#include "check/check.h"

#include <boost/program_options/value_semantic.hpp>
#include <ostream>

#include "cli/command.h"
#include "cli/json.h"
#include "io/posix_file.h"

namespace fvd::cli {
namespace {

void declare(po::options_description& options) {
  options.add_options()("json", po::bool_switch(), "print JSON");
  // Not offered in the help: it is refused, rather than unknown, so that nobody takes an unrepaired image for repaired.
  options.add_options()("repair", po::bool_switch(), "");
}

void print_text(std::ostream& out, const std::string& path, const CheckReport& report) {
  for (const CheckFinding& finding : report.findings) {
    out << kind_name(finding.kind) << ": " << finding.structure << ": " << finding.message << '\n';
  }
  const std::uint64_t found = report.corruptions + report.leaks;
  if (found > report.findings.size()) out << "and " << found - report.findings.size() << " more\n";
  out << path << ": ";
  if (report.corruptions != 0) {
    out << "corrupt: " << report.corruptions << " corruptions, " << report.leaks << " leaks\n";
  } else if (report.leaks != 0) {
    out << "consistent, but space is leaked: " << report.leaks << " leaks\n";
  } else {
    out << "consistent\n";
  }
  out << report.chunks_used << " of " << report.chunks_total << " chunks in use, " << report.snapshots << " snapshots, "
      << (report.clean ? "closed cleanly" : "not closed cleanly") << ", " << report.journal_records
      << " journal records replayed in memory\n";
}

int run(const Invocation& invocation) {
  const std::string& path = invocation.operands[0];
  if (invocation.flag("repair")) {
    return fail(invocation.streams, path,
                {Code::kUnsupported, "image " + path +
                                         " is left as it is: this version of fvd cannot repair; "
                                         "check it without --repair, and copy out the states that are sound"});
  }
  PosixFileOptions how;
  how.read_only = true;
  how.lock = LockMode::kShared;
  auto file = PosixFile::open(path, how);
  if (!file) {
    // A checker that shared the image with its writer would report what is merely half written.
    if (file.code() != Code::kLocked) return fail(invocation.streams, path, file.status());
    return fail(invocation.streams, path,
                {Code::kLocked, "image " + path +
                                    " is in use by another process and cannot be checked while it is "
                                    "(is it mounted, or attached to a virtual machine?); unmount or stop that first"});
  }
  const auto report = check_image(**file);
  if (!report) return fail(invocation.streams, path, report.status());
  if (invocation.flag("json")) {
    invocation.streams.out << report_as_json(path, *report);
  } else {
    print_text(invocation.streams.out, path, *report);
  }
  return report->exit_status();
}

}  // namespace

const Command kCheck{
    .name = "check",
    .synopsis = "[--json] IMAGE",
    .summary = "verify every structure and count; exit 0 consistent, 1 unchecked, 2 corrupt, 3 leaks only",
    .example = "fvd check disk.fvd",
    .min_operands = 1,
    .max_operands = 1,
    .declare = declare,
    .run = run,
};

}  // namespace fvd::cli
