#include "image/tree_text.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/one_line.h"

namespace fvd {
namespace {

constexpr std::size_t kMaxIndent = 32;
constexpr std::string_view kCurrentState = "(current-state)";

std::string node_name(const std::vector<SnapshotInfo>& snapshots, std::size_t node) {
  return node < snapshots.size() ? snapshots[node].name : std::string(kCurrentState);
}

// Marks everything that can be reached from `root`, or nothing when it is marked already.
void mark_reachable(const SnapshotTree& tree, std::size_t root, std::vector<bool>& reached) {
  std::vector<std::size_t> open{root};
  while (!open.empty()) {
    const std::size_t node = open.back();
    open.pop_back();
    if (reached[node]) continue;
    reached[node] = true;
    open.insert(open.end(), tree.children[node].begin(), tree.children[node].end());
  }
}

std::string describe(const SnapshotInfo& snapshot) {
  std::tm utc{};
  const std::time_t seconds = snapshot.created_seconds;
  std::array<char, 32> when{};
  if (::gmtime_r(&seconds, &utc) == nullptr || std::strftime(when.data(), when.size(), "%F %T", &utc) == 0) {
    when[0] = '?';
  }
  std::string text = std::string("  ") + when.data() + "  " + human_bytes(snapshot.allocated);
  if (snapshot.held) text += "  [held]";
  if (!snapshot.description.empty()) {
    text += "  " + one_line(snapshot.description.substr(0, snapshot.description.find('\n')));
  }
  return text;
}

}  // namespace

SnapshotTree build_snapshot_tree(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent) {
  SnapshotTree tree;
  tree.current = snapshots.size();
  tree.children.resize(snapshots.size() + 1);
  std::unordered_map<SnapshotId, std::size_t> node_of;
  for (std::size_t i = 0; i < snapshots.size(); ++i) node_of.emplace(snapshots[i].id, i);

  const auto attach = [&](std::size_t node, SnapshotId parent) {
    const auto found = node_of.find(parent);
    if (parent == 0 || found == node_of.end() || found->second == node) {
      tree.roots.push_back(node);
    } else {
      tree.children[found->second].push_back(node);
    }
  };
  for (std::size_t i = 0; i < snapshots.size(); ++i) attach(i, snapshots[i].parent);
  attach(tree.current, current_parent);

  // What no root reaches lies on or below a cycle, which only a damaged directory can hold: cut it open and show it.
  std::vector<bool> reached(snapshots.size() + 1, false);
  for (const std::size_t root : tree.roots) mark_reachable(tree, root, reached);
  for (std::size_t node = 0; node < snapshots.size(); ++node) {
    if (reached[node]) continue;
    auto& siblings = tree.children[node_of.at(snapshots[node].parent)];
    siblings.erase(std::remove(siblings.begin(), siblings.end(), node), siblings.end());
    tree.roots.push_back(node);
    mark_reachable(tree, node, reached);
  }
  return tree;
}

std::string tree_line(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent) {
  const SnapshotTree tree = build_snapshot_tree(snapshots, current_parent);
  // Texts and nodes still to be written, the next one last.
  struct Item {
    std::string_view text;
    std::size_t node;
    bool is_node;
  };
  std::vector<Item> todo;
  const auto push_list = [&todo](const std::vector<std::size_t>& nodes) {
    for (std::size_t i = nodes.size(); i-- > 0;) {
      todo.push_back({"", nodes[i], true});
      if (i != 0) todo.push_back({", ", 0, false});
    }
  };
  push_list(tree.roots);
  std::string line;
  while (!todo.empty()) {
    const Item item = todo.back();
    todo.pop_back();
    if (!item.is_node) {
      line += item.text;
      continue;
    }
    line += node_name(snapshots, item.node);
    const auto& children = tree.children[item.node];
    if (children.empty()) continue;
    line += children.size() > 1 ? "->{" : "->";
    if (children.size() > 1) todo.push_back({"}", 0, false});
    push_list(children);
  }
  return line;
}

std::vector<TreeBranch> tree_branches(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent) {
  const SnapshotTree tree = build_snapshot_tree(snapshots, current_parent);
  struct Item {
    std::size_t node;
    std::string indent;  // of the lines below this one
    std::string_view mark;
  };
  std::vector<Item> todo;
  const auto push_branches = [&todo](const std::vector<std::size_t>& nodes, const std::string& indent, bool top) {
    // Each level is at most six bytes of indentation ("│   "), so the deepest allowed one has a known length.
    const bool deepest = indent.size() >= kMaxIndent * 6;
    for (std::size_t i = nodes.size(); i-- > 0;) {
      const bool last = i + 1 == nodes.size();
      if (top || deepest) {
        todo.push_back({nodes[i], indent, ""});
      } else {
        todo.push_back({nodes[i], indent + (last ? "    " : "│   "), last ? "└── " : "├── "});
      }
    }
  };
  push_branches(tree.roots, "", true);
  std::vector<TreeBranch> branches;
  while (!todo.empty()) {
    const Item item = std::move(todo.back());
    todo.pop_back();
    // A branch's own line replaces the last level of its indentation by its mark.
    const std::size_t level =
        item.mark.empty() ? 0 : (item.indent.ends_with("│   ") ? std::string_view("│   ").size() : 4);
    branches.push_back({item.node, item.indent.substr(0, item.indent.size() - level) + std::string(item.mark)});
    const auto& children = tree.children[item.node];
    if (children.size() == 1) {
      todo.push_back({children[0], item.indent, ""});
    } else {
      push_branches(children, item.indent, false);
    }
  }
  return branches;
}

std::string tree_text(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent) {
  std::string text = tree_line(snapshots, current_parent) + "\n\n";
  for (const TreeBranch& branch : tree_branches(snapshots, current_parent)) {
    text += branch.mark + node_name(snapshots, branch.node);
    if (branch.node < snapshots.size()) text += describe(snapshots[branch.node]);
    text += '\n';
  }
  return text;
}

std::string rfc3339_utc(std::int64_t seconds, std::uint32_t nanoseconds) {
  std::tm utc{};
  const std::time_t time = seconds;
  std::array<char, 64> day{};
  if (::gmtime_r(&time, &utc) == nullptr || std::strftime(day.data(), day.size(), "%FT%T", &utc) == 0) return "unknown";
  std::array<char, 96> text{};
  (void)std::snprintf(text.data(), text.size(), "%s.%09uZ", day.data(), static_cast<unsigned>(nanoseconds));
  return text.data();
}

std::string human_bytes(std::uint64_t bytes) {
  static constexpr std::array<const char*, 7> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  std::uint64_t whole = bytes;
  std::uint64_t rest = 0;  // of the next smaller unit, 0 to 1023
  while (whole >= 1024 && unit + 1 < kUnits.size()) {
    rest = whole % 1024;
    whole /= 1024;
    ++unit;
  }
  std::string text = std::to_string(whole);
  // Digits are cut, not rounded, so that 1023.99 KiB never reads as 1024 KiB.
  std::string fraction;
  if (whole < 10) {
    fraction = std::to_string(rest * 100 / 1024);
    if (fraction.size() < 2) fraction.insert(0, "0");
  } else if (whole < 100) {
    fraction = std::to_string(rest * 10 / 1024);
  }
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  if (!fraction.empty()) text += "." + fraction;
  return text + " " + kUnits[unit];
}

}  // namespace fvd
