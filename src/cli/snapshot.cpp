// fvd snapshot: the snapshot operations without a mount.
#include <boost/program_options/value_semantic.hpp>
#include <map>
#include <ostream>

#include "cli/command.h"
#include "cli/json.h"
#include "cli/table.h"
#include "image/tree_text.h"

namespace fvd::cli {
namespace {

void declare_nothing(po::options_description&) {}

void declare_list(po::options_description& options) {
  options.add_options()("json", po::bool_switch(), "print a JSON array, sizes in bytes");
  declare_force_share(options);
}

void declare_create(po::options_description& options) {
  options.add_options()("description,d", po::value<std::string>()->value_name("TEXT"),
                        "what the snapshot is for, at most 4,096 bytes");
}

int list(const Invocation& invocation) {
  auto image = open_to_read(invocation);
  if (!image) return fail(invocation.streams, invocation.operands[0], image.status());
  const std::vector<SnapshotInfo> snapshots = (*image)->snapshots();
  if (invocation.flag("json")) {
    invocation.streams.out << list_as_json(snapshots);
    return kSuccess;
  }
  std::map<SnapshotId, std::string> names{{0, "-"}};
  for (const SnapshotInfo& snapshot : snapshots) names.emplace(snapshot.id, snapshot.name);
  std::vector<std::vector<std::string>> rows{{"NAME", "PARENT", "TAKEN", "SIZE", "ALLOCATED", "HELD", "DESCRIPTION"}};
  for (const SnapshotInfo& s : snapshots) {
    rows.push_back({s.name, names[s.parent], rfc3339_utc(s.created_seconds, 0).substr(0, 19) + "Z",
                    human_bytes(s.virtual_size), human_bytes(s.allocated), s.held ? "yes" : "no",
                    s.description.substr(0, s.description.find('\n'))});
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
  return with_image(invocation, [&](Image& image) { return image.snapshot_delete(invocation.operands[1]); });
}

int go_to(const Invocation& invocation) {
  return with_image(invocation, [&](Image& image) { return image.snapshot_goto(invocation.operands[1]); });
}

int rename(const Invocation& invocation) {
  return with_image(
      invocation, [&](Image& image) { return image.snapshot_rename(invocation.operands[1], invocation.operands[2]); });
}

}  // namespace

const Command kSnapshotList{
    .name = "snapshot list",
    .synopsis = "[--json] [-U] IMAGE",
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

}  // namespace fvd::cli
