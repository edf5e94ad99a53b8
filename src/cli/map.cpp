// fvd map and fvd diff: the extents of a state, and those in which two states differ. From metadata alone.
#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <ostream>
#include <vector>

#include "cli/command.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/table.h"

namespace fvd::cli {
namespace {

void declare_map(po::options_description& options) {
  options.add_options()("snapshot,s", po::value<std::string>()->value_name("SNAPSHOT"),
                        "show this snapshot (default: current-state)");
  options.add_options()("json", po::bool_switch(), "print a JSON array as qemu-img map does");
  declare_force_share(options);
}

void declare_diff(po::options_description& options) {
  options.add_options()("json", po::bool_switch(), "print JSON");
  declare_force_share(options);
}

bool continues(const Extent& a, const Extent& b) {
  return a.data == b.data && a.place == b.place &&
         (a.place == Extent::Place::kNowhere || a.file_offset + a.length == b.file_offset);
}

Result<std::vector<Extent>> extents_of(StateReader& state, Progress& progress) {
  Progress::Part part(progress, {}, state.virtual_size());
  std::vector<Extent> all;
  for (std::uint64_t at = 0; at < state.virtual_size();) {
    const auto extent = state.extent(at);
    if (!extent) return extent.status();
    if (!all.empty() && continues(all.back(), *extent)) {
      all.back().length += extent->length;
    } else {
      all.push_back(*extent);
    }
    at += extent->length;
    part.set(at, state.virtual_size());
  }
  return all;
}

// 0 = current-state.
Result<SnapshotId> find_state(const Image& image, const std::string& name) {
  if (name == "current-state") return SnapshotId{0};
  const auto found = image.find_snapshot(name);
  if (!found) return Status(Code::kNotFound, "there is no snapshot \"" + name + "\"");
  return found->id;
}

int map(const Invocation& invocation) {
  const std::string& path = invocation.operands[0];
  auto image = open_to_read(invocation);
  if (!image) return fail(invocation.streams, path, image.status());
  const bool named = invocation.options.count("snapshot") != 0;
  const auto id = find_state(**image, named ? invocation.text("snapshot") : "current-state");
  if (!id) return fail(invocation.streams, path, id.status());
  std::shared_ptr<StateReader> snapshot;
  if (*id != 0) {
    auto opened = (*image)->open_snapshot(*id);
    if (!opened) return fail(invocation.streams, path, opened.status());
    snapshot = std::move(*opened);
  }
  const auto extents = extents_of(snapshot ? *snapshot : static_cast<StateReader&>(**image), invocation.progress);
  snapshot.reset();
  if (!extents) return fail(invocation.streams, path, extents.status());
  if (invocation.flag("json")) {
    invocation.streams.out << extents_as_json(*extents);
    return kSuccess;
  }
  const ImageInfo info = (*image)->info();
  const std::string& store = info.data_path.empty() ? path : info.data_path;
  std::vector<std::vector<std::string>> rows{{"OFFSET", "LENGTH", "HOLDS", "AT", "FILE"}};
  for (const Extent& e : *extents) {
    const bool placed = e.place != Extent::Place::kNowhere;
    rows.push_back({std::to_string(e.offset), std::to_string(e.length), e.data ? "data" : "zeros",
                    placed ? std::to_string(e.file_offset) : "-",
                    !placed                            ? "-"
                    : e.place == Extent::Place::kImage ? one_line(store)
                                                       : one_line(info.base_path)});
  }
  print_table(invocation.streams.out, rows);
  return kSuccess;
}

int diff(const Invocation& invocation) {
  const std::string& path = invocation.operands[0];
  auto image = open_to_read(invocation, Base::kMayBeMissing);
  if (!image) return fail(invocation.streams, path, image.status());
  std::array<DiffState, 2> states;
  std::array<SnapshotId, 2> ids{};
  for (std::size_t i = 0; i < states.size(); ++i) {
    states[i].name = invocation.operands[i + 1];
    const auto id = find_state(**image, states[i].name);
    if (!id) return fail(invocation.streams, path, id.status());
    ids[i] = *id;
    states[i].size = ids[i] == 0 ? (*image)->virtual_size() : (*image)->find_snapshot(ids[i])->virtual_size;
  }
  std::vector<Extent> extents;
  const Status s = [&] {
    Progress::Part part(invocation.progress);
    return (*image)->diff(ids[0], ids[1], [&](std::uint64_t offset, std::uint64_t length) {
      extents.push_back({offset, length, true, Extent::Place::kImage});
      part.set(offset + length, std::max(states[0].size, states[1].size));
    });
  }();
  if (!s) return fail(invocation.streams, path, s);
  if (invocation.flag("json")) {
    invocation.streams.out << diff_as_json(path, states[0], states[1], extents);
    return kSuccess;
  }
  std::vector<std::vector<std::string>> rows{{"OFFSET", "LENGTH"}};
  for (const Extent& e : extents) rows.push_back({std::to_string(e.offset), std::to_string(e.length)});
  print_table(invocation.streams.out, rows);
  return kSuccess;
}

}  // namespace

const Command kMap{
    .name = "map",
    .synopsis = "[-s SNAPSHOT] [--json] [-U] IMAGE",
    .summary = "show the extents of a state, and where in the image they lie",
    .example = "fvd map --json -s s1 disk.fvd",
    .min_operands = 1,
    .max_operands = 1,
    .declare = declare_map,
    .run = map,
};

const Command kDiff{
    .name = "diff",
    .synopsis = "[--json] [-U] IMAGE A B",
    .summary = "show in what two states of an image differ, from metadata alone",
    .example = "fvd diff disk.fvd s1 s2\n  fvd diff --json disk.fvd s2 current-state",
    .min_operands = 3,
    .max_operands = 3,
    .declare = declare_diff,
    .run = diff,
};

}  // namespace fvd::cli
