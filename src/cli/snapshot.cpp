// fvd snapshot: the snapshot operations without a mount.
#include <boost/program_options/value_semantic.hpp>
#include <map>
#include <optional>
#include <ostream>

#include "base/shell.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "image/tree_text.h"

namespace fvd::cli {
namespace {

void declare_nothing(po::options_description&) {}

void declare_list(po::options_description& options) {
  options.add_options()("tree", po::bool_switch(), "draw the tree, with the same columns");
  options.add_options()("json", po::bool_switch(), "print a JSON array, sizes in bytes");
  declare_force_share(options);
}

void declare_create(po::options_description& options) {
  options.add_options()("description,d", po::value<std::string>()->value_name("TEXT"),
                        "what the snapshot is for, at most 4,096 bytes");
}

// Bytes that only each snapshot holds; nothing where that cannot be told, as in an image that is being written.
std::vector<std::optional<std::uint64_t>> exclusive_of(Image& image, const std::vector<SnapshotInfo>& snapshots) {
  std::vector<SnapshotId> ids;
  for (const SnapshotInfo& s : snapshots) ids.push_back(s.id);
  std::vector<std::optional<std::uint64_t>> all;
  for (const Result<std::uint64_t>& bytes : image.snapshots_exclusive(ids))
    all.push_back(bytes ? std::optional(*bytes) : std::nullopt);
  return all;
}

std::vector<std::string> row_of(const SnapshotInfo& s, const std::optional<std::uint64_t>& exclusive, std::string name,
                                std::string parent) {
  return {std::move(name),
          std::move(parent),
          rfc3339_utc(s.created_seconds, 0).substr(0, 19) + "Z",
          human_bytes(s.virtual_size),
          human_bytes(s.allocated),
          exclusive ? human_bytes(*exclusive) : "?",
          s.held ? "yes" : "no",
          one_line(s.description.substr(0, s.description.find('\n')))};
}

int list(const Invocation& invocation) {
  if (invocation.flag("json") && invocation.flag("tree")) {
    return usage_error(invocation.streams, invocation.command, "--json and --tree exclude each other");
  }
  auto opened = open_to_read(invocation, Base::kMayBeMissing);
  if (!opened) return fail(invocation.streams, invocation.operands[0], opened.status());
  Image& image = **opened;
  const std::vector<SnapshotInfo> snapshots = image.snapshots();
  std::vector<std::optional<std::uint64_t>> exclusive;
  {
    const Progress::Part part(invocation.progress);
    exclusive = exclusive_of(image, snapshots);
  }
  if (invocation.flag("json")) {
    invocation.streams.out << list_as_json(snapshots, exclusive);
    return kSuccess;
  }
  std::map<SnapshotId, std::string> names{{0, "-"}};
  for (const SnapshotInfo& snapshot : snapshots) names.emplace(snapshot.id, snapshot.name);
  std::vector<std::vector<std::string>> rows{
      {"NAME", "PARENT", "TAKEN", "SIZE", "ALLOCATED", "EXCLUSIVE", "HELD", "DESCRIPTION"}};
  if (invocation.flag("tree")) {
    for (const TreeBranch& branch : tree_branches(snapshots, image.current_parent())) {
      if (branch.node < snapshots.size()) {
        const SnapshotInfo& s = snapshots[branch.node];
        rows.push_back(row_of(s, exclusive[branch.node], branch.mark + s.name, names[s.parent]));
      } else {
        rows.push_back({branch.mark + "(current-state)", names[image.current_parent()], "-",
                        human_bytes(image.virtual_size()), human_bytes(image.allocated()), "-", "-", ""});
      }
    }
  } else {
    for (std::size_t i = 0; i < snapshots.size(); ++i) {
      rows.push_back(row_of(snapshots[i], exclusive[i], snapshots[i].name, names[snapshots[i].parent]));
    }
  }
  print_table(invocation.streams.out, rows);
  return kSuccess;
}

int create(const Invocation& invocation) {
  return with_image(invocation, [&](Image& image) {
    return image.snapshot_create(invocation.operands[1], invocation.text("description")).status();
  });
}

int remove(const Invocation& invocation) {
  const std::string& name = invocation.operands[1];
  return with_image(invocation, [&](Image& image) -> Status {
    const Status s = image.snapshot_delete(name);
    const auto snapshot = image.find_snapshot(name);
    if (s.code() != Code::kBusy || !snapshot || !snapshot->held) return s;
    return {s.code(), s.message() + " with: fvd snapshot release " + shell_operands({invocation.operands[0], name})};
  });
}

int go_to(const Invocation& invocation) {
  return with_image(invocation, [&](Image& image) { return image.snapshot_goto(invocation.operands[1]); });
}

int rename(const Invocation& invocation) {
  return with_image(
      invocation, [&](Image& image) { return image.snapshot_rename(invocation.operands[1], invocation.operands[2]); });
}

int describe(const Invocation& invocation) {
  return with_image(invocation, [&](Image& image) {
    return image.snapshot_set_description(invocation.operands[1], invocation.operands[2]);
  });
}

int hold(const Invocation& invocation) {
  return with_image(invocation, [&](Image& image) { return image.snapshot_set_hold(invocation.operands[1], true); });
}

int release(const Invocation& invocation) {
  return with_image(invocation, [&](Image& image) { return image.snapshot_set_hold(invocation.operands[1], false); });
}

}  // namespace

const Command kSnapshotList{
    .name = "snapshot list",
    .synopsis = "[--tree|--json] [-U] IMAGE",
    .summary = "list the snapshots in the order in which they were taken",
    .example = "fvd snapshot list disk.fvd",
    .min_operands = 1,
    .max_operands = 1,
    .declare = declare_list,
    .run = list,
};

const Command kSnapshotCreate{
    .name = "snapshot create",
    .synopsis = "[-d TEXT] IMAGE NAME",
    .summary = "take a snapshot of current-state",
    .example = "fvd snapshot create -d 'before the upgrade' disk.fvd s1",
    .min_operands = 2,
    .max_operands = 2,
    .declare = declare_create,
    .run = create,
};

const Command kSnapshotDelete{
    .name = "snapshot delete",
    .synopsis = "IMAGE NAME",
    .summary = "delete a snapshot; its children become children of its parent",
    .example = "fvd snapshot delete disk.fvd s1",
    .min_operands = 2,
    .max_operands = 2,
    .declare = declare_nothing,
    .run = remove,
};

const Command kSnapshotGoto{
    .name = "snapshot goto",
    .synopsis = "IMAGE NAME",
    .summary = "make current-state a copy of a snapshot, giving up what it held since its last one",
    .example = "fvd snapshot goto disk.fvd s1",
    .min_operands = 2,
    .max_operands = 2,
    .declare = declare_nothing,
    .run = go_to,
};

const Command kSnapshotRename{
    .name = "snapshot rename",
    .synopsis = "IMAGE NAME NEW-NAME",
    .summary = "rename a snapshot",
    .example = "fvd snapshot rename disk.fvd s1 golden",
    .min_operands = 3,
    .max_operands = 3,
    .declare = declare_nothing,
    .run = rename,
};

const Command kSnapshotDescribe{
    .name = "snapshot describe",
    .synopsis = "IMAGE NAME TEXT",
    .summary = "say what a snapshot is for, at most 4,096 bytes; nothing with an empty TEXT",
    .example = "fvd snapshot describe disk.fvd s1 'before the upgrade'",
    .min_operands = 3,
    .max_operands = 3,
    .declare = declare_nothing,
    .run = describe,
};

const Command kSnapshotHold{
    .name = "snapshot hold",
    .synopsis = "IMAGE NAME",
    .summary = "protect a snapshot from being deleted",
    .example = "fvd snapshot hold disk.fvd golden",
    .min_operands = 2,
    .max_operands = 2,
    .declare = declare_nothing,
    .run = hold,
};

const Command kSnapshotRelease{
    .name = "snapshot release",
    .synopsis = "IMAGE NAME",
    .summary = "take the hold off a snapshot",
    .example = "fvd snapshot release disk.fvd golden",
    .min_operands = 2,
    .max_operands = 2,
    .declare = declare_nothing,
    .run = release,
};

}  // namespace fvd::cli
