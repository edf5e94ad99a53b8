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

std::string dot_escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

// The text with every "(current-state)" in it in bold green.
std::string highlighted(std::string text) {
  constexpr std::string_view kMark = "(current-state)";
  constexpr std::string_view kOn = "\033[1;32m";
  constexpr std::string_view kOff = "\033[0m";
  for (std::size_t at = 0; (at = text.find(kMark, at)) != std::string::npos;) {
    text.insert(at + kMark.size(), kOff);
    text.insert(at, kOn);
    at += kMark.size() + kOn.size() + kOff.size();
  }
  return text;
}

void print_dot(std::ostream& out, const std::vector<SnapshotInfo>& snapshots, SnapshotId parent) {
  const SnapshotTree tree = build_snapshot_tree(snapshots, parent);
  const auto node = [&](std::size_t i) {
    return i == tree.current ? "current" : "s" + std::to_string(snapshots[i].id);
  };
  out << "digraph snapshots {\n  node [shape=box];\n";
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    const SnapshotInfo& s = snapshots[i];
    const std::string taken = rfc3339_utc(s.created_seconds, s.created_nanoseconds);
    std::string label = dot_escaped(s.name) + "\\n" + taken.substr(0, 10) + " " + taken.substr(11, 8) + "\\n" +
                        human_bytes(s.allocated) + (s.held ? ", held" : "");
    if (!s.description.empty()) {
      label += "\\n" + dot_escaped(one_line(s.description.substr(0, s.description.find('\n'))));
    }
    out << "  " << node(i) << " [label=\"" << label << "\", tooltip=\"" << taken << "\"];\n";
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
  auto image = open_to_read(invocation, Base::kMayBeMissing);
  if (!image) return fail(invocation.streams, invocation.operands[0], image.status());
  const std::vector<SnapshotInfo> snapshots = (*image)->snapshots();
  const SnapshotId parent = (*image)->current_parent();
  std::ostream& out = invocation.streams.out;
  if (invocation.flag("json")) {
    out << tree_as_json(snapshots, parent);
  } else if (invocation.flag("dot")) {
    print_dot(out, snapshots, parent);
  } else {
    const std::string text = tree_text(snapshots, parent);
    out << (invocation.streams.colours ? highlighted(text) : text);
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
