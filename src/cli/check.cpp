// fvd check: the independent checker as a command. Its exit statuses are those of `qemu-img check`.
#include "check/check.h"

#include <boost/program_options/value_semantic.hpp>
#include <ostream>

#include "cli/command.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "io/posix_file.h"

namespace fvd::cli {
namespace {

void declare(po::options_description& options) {
  options.add_options()("repair", po::bool_switch(), "mend reference counts, leaks and a damaged superblock slot");
  options.add_options()("older-superblock", po::bool_switch(),
                        "with --repair: give up what came after the older superblock where the newer one is lost");
  options.add_options()("json", po::bool_switch(), "print JSON");
  options.add_options()("force-share,U", po::bool_switch(),
                        "check the image although another process writes it; may report what is merely half written");
}

void print_findings(std::ostream& out, const CheckReport& report) {
  for (const CheckFinding& finding : report.findings) {
    out << kind_name(finding.kind) << ": " << finding.structure << ": " << one_line(finding.message) << '\n';
  }
  const std::uint64_t found = report.corruptions + report.leaks;
  if (found > report.findings.size()) out << "and " << found - report.findings.size() << " more\n";
}

std::string counted(std::uint64_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

void print_summary(std::ostream& out, const std::string& path, const CheckReport& report) {
  out << one_line(path) << ": ";
  if (report.corruptions != 0) {
    out << "corrupt: " << counted(report.corruptions, "corruption") << ", " << counted(report.leaks, "leak") << '\n';
  } else if (report.leaks != 0) {
    out << "consistent, but space is leaked: " << counted(report.leaks, "leak") << '\n';
  } else {
    out << "consistent\n";
  }
  out << report.chunks_used << " of " << counted(report.chunks_total, "chunk") << " in use, "
      << counted(report.snapshots, "snapshot") << ", " << (report.clean ? "closed cleanly" : "not closed cleanly")
      << ", " << counted(report.journal_records, "journal record") << " replayed in memory\n";
}

int check(const Invocation& invocation, File& file, bool in_use) {
  const std::string& path = invocation.operands[0];
  const auto report = [&] {
    Progress::Part part(invocation.progress);
    return check_image(file, [&part](std::uint64_t done, std::uint64_t total) { part.set(done, total); });
  }();
  if (!report) return fail(invocation.streams, path, report.status());
  if (invocation.flag("json")) {
    invocation.streams.out << report_as_json(path, *report);
  } else {
    print_findings(invocation.streams.out, *report);
    print_summary(invocation.streams.out, path, *report);
  }
  if (in_use && report->exit_status() != 0) {
    invocation.streams.err << "fvd: image " << one_line(path)
                           << " was written while it was checked, so it may well be sound; check it again when nobody "
                              "uses it\n";
  }
  return report->exit_status();
}

int repair(const Invocation& invocation, File& file) {
  const std::string& path = invocation.operands[0];
  const auto report = [&] {
    Progress::Part part(invocation.progress);
    RepairOptions how;
    how.older_superblock = invocation.flag("older-superblock");
    how.progress = [&part](std::uint64_t done, std::uint64_t total) { part.set(done, total); };
    return repair_image(file, how);
  }();
  if (!report) return fail(invocation.streams, path, report.status());
  std::ostream& out = invocation.streams.out;
  if (invocation.flag("json")) {
    out << repair_as_json(path, *report);
  } else {
    print_findings(out, report->before);
    for (const std::string& line : report->done) out << "repaired: " << line << '\n';
    if (!report->done.empty()) print_findings(out, report->after);
    print_summary(out, path, report->after);
  }
  if (!report->refused.empty()) {
    invocation.streams.err << "fvd: image " << one_line(path) << " is left as it is: " << one_line(report->refused)
                           << '\n';
  }
  return report->after.exit_status();
}

int run(const Invocation& invocation) {
  const std::string& path = invocation.operands[0];
  const bool repairs = invocation.flag("repair");
  if (invocation.flag("older-superblock") && !repairs) {
    return usage_error(invocation.streams, invocation.command, "--older-superblock goes with --repair");
  }
  if (invocation.flag("force-share") && repairs) {
    return usage_error(invocation.streams, invocation.command, "--repair and --force-share exclude each other");
  }
  PosixFileOptions how;
  how.read_only = !repairs;
  how.lock = repairs ? LockMode::kExclusive : LockMode::kShared;
  auto file = PosixFile::open(path, how);
  const bool in_use = file.code() == Code::kLocked;
  if (in_use && invocation.flag("force-share")) {
    how.lock = LockMode::kNone;
    file = PosixFile::open(path, how);
  }
  if (!file) return fail(invocation.streams, path, file.status());
  return repairs ? repair(invocation, **file) : check(invocation, **file, in_use);
}

}  // namespace

const Command kCheck{
    .name = "check",
    .synopsis = "[--repair [--older-superblock]] [--json] [-U] IMAGE",
    .summary = "verify every structure and count; exit 0 consistent, 1 unchecked, 2 corrupt, 3 leaks only",
    .example = "fvd check disk.fvd",
    .min_operands = 1,
    .max_operands = 1,
    .declare = declare,
    .run = run,
};

}  // namespace fvd::cli
