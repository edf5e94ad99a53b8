// fvd tree: the snapshot tree for people, for programs, or for Graphviz.
#include <boost/program_options/value_semantic.hpp>
#include <ostream>

#include "cli/command.h"
#include "cli/json.h"
#include "image/tree_text.h"

namespace fvd::cli {
namespace {

void declare(po::options_description& options) {
  options.add_options()("json", po::bool_switch(), "print JSON, sizes in bytes");
  options.add_options()("dot", po::bool_switch(), "print a graph for Graphviz");
  declare_force_share(options);
}

std::string dot_quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

void print_dot(std::ostream& out, const std::vector<SnapshotInfo>& snapshots, SnapshotId parent) {
  const SnapshotTree tree = build_snapshot_tree(snapshots, parent);
  const auto node = [&](std::size_t i) {
    return i == tree.current ? "current" : "s" + std::to_string(snapshots[i].id);
  };
  out << "digraph snapshots {\n  node [shape=box];\n";
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    out << "  " << node(i) << " [label=" << dot_quoted(snapshots[i].name)
        << ", tooltip=" << dot_quoted(rfc3339_utc(snapshots[i].created_seconds, snapshots[i].created_nanoseconds))
        << "];\n";
  }
  out << "  current [label=\"current-state\", style=bold];\n";
  for (std::size_t i = 0; i <= tree.current; ++i) {
    for (const std::size_t child : tree.children[i]) out << "  " << node(i) << " -> " << node(child) << ";\n";
  }
  out << "}\n";
}

int run(const Invocation& invocation) {
  if (invocation.flag("json") && invocation.flag("dot")) {
    return usage_error(invocation.streams, invocation.command, "--json and --dot exclude each other");
  }
  auto image = open_to_read(invocation);
  if (!image) return fail(invocation.streams, invocation.operands[0], image.status());
  const std::vector<SnapshotInfo> snapshots = (*image)->snapshots();
  const SnapshotId parent = (*image)->current_parent();
  std::ostream& out = invocation.streams.out;
  if (invocation.flag("json")) {
    out << tree_as_json(snapshots, parent);
  } else if (invocation.flag("dot")) {
    print_dot(out, snapshots, parent);
  } else {
    out << tree_text(snapshots, parent);
  }
  return kSuccess;
}

}  // namespace

const Command kTree{
    .name = "tree",
    .synopsis = "[--json|--dot] [-U] IMAGE",
    .summary = "show the snapshot tree and where current-state hangs in it",
    .example = "fvd tree --dot disk.fvd | dot -Tsvg >tree.svg",
    .min_operands = 1,
    .max_operands = 1,
    .declare = declare,
    .run = run,
};

}  // namespace fvd::cli
