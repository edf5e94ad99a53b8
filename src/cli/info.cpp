// fvd info: what an image tells about itself.
#include <boost/program_options/value_semantic.hpp>
#include <iomanip>
#include <ostream>

#include "cli/command.h"
#include "cli/json.h"

namespace fvd::cli {
namespace {

void declare(po::options_description& options) {
  options.add_options()("json", po::bool_switch(), "print JSON, sizes in bytes");
  declare_force_share(options);
}

void print(std::ostream& out, const ImageInfo& info, const std::vector<SnapshotInfo>& snapshots) {
  const auto line = [&out](const char* label) -> std::ostream& { return out << std::left << std::setw(16) << label; };
  std::string features;
  for (const std::string& feature : info.features) features += (features.empty() ? "" : ", ") + feature;
  std::string parent = "none";
  for (const SnapshotInfo& snapshot : snapshots) {
    if (snapshot.id == info.parent) parent = snapshot.name;
  }
  line("image:") << one_line(info.path) << (info.is_block_device ? " (block device)" : "") << '\n';
  if (!info.uuid.empty()) line("uuid:") << info.uuid << '\n';
  line("format:") << "version " << info.format_version << ", features: " << (features.empty() ? "none" : features)
                  << '\n';
  line("virtual size:") << exact_size(info.virtual_size) << '\n';
  line("allocated:") << exact_size(info.allocated) << " by current-state\n";
  line("file size:") << exact_size(info.file_size) << '\n';
  line("on the host:") << exact_size(info.host_allocated) << '\n';
  if (info.chunk_size != 0) {
    line("chunks:") << info.chunks_used << " of " << info.chunks_total << " in use, " << exact_size(info.chunk_size)
                    << " each; " << info.partial_chunks << " partial in current-state\n";
  }
  if (info.block_size != 0) line("block:") << exact_size(info.block_size) << '\n';
  if (!info.data_path.empty()) line("data file:") << one_line(info.data_path) << '\n';
  line("journal:") << exact_size(info.journal_size) << '\n';
  line("snapshots:") << snapshots.size() << '\n';
  line("parent:") << parent << '\n';
  if (info.base_path.empty()) {
    line("base image:") << "none\n";
  } else {
    line("base image:") << one_line(info.base_path) << " (" << (info.base_format.empty() ? "raw" : info.base_format)
                        << "), " << exact_size(info.base_size) << " of it show through"
                        << (info.base_error.empty() ? "" : "; missing: " + one_line(info.base_error)) << '\n';
  }
  line("clean:") << (info.was_clean ? "yes" : "no: not closed cleanly; the next mount recovers by itself") << '\n';
}

int run(const Invocation& invocation) {
  auto image = open_to_read(invocation, Base::kMayBeMissing);
  if (!image) return fail(invocation.streams, invocation.operands[0], image.status());
  const ImageInfo info = (*image)->info();
  const std::vector<SnapshotInfo> snapshots = (*image)->snapshots();
  if (invocation.flag("json")) {
    invocation.streams.out << info_as_json(info, snapshots);
  } else {
    print(invocation.streams.out, info, snapshots);
  }
  return kSuccess;
}

}  // namespace

const Command kInfo{
    .name = "info",
    .synopsis = "[--json] [-U] IMAGE",
    .summary = "show sizes, allocation, format, base and whether it was closed cleanly",
    .example = "fvd info --json disk.fvd",
    .min_operands = 1,
    .max_operands = 1,
    .declare = declare,
    .run = run,
};

}  // namespace fvd::cli
