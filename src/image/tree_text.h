// The snapshot tree as people and programs see it: one line, a drawing, and the time format that goes with them.
//
// Pure functions over what Image::snapshots() and Image::current_parent() return, used by the daemon and by the tool.
// They never recurse and never loop for ever, whatever parents they are given: a snapshot whose parent is unknown, or
// that is its own ancestor, is shown as a root. Thread-safe.
#ifndef FVD_IMAGE_TREE_TEXT_H_
#define FVD_IMAGE_TREE_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fvd/image.h"

namespace fvd {

// The tree in a form that is convenient to walk. Nodes are numbered by their place in the vector that it was made from;
// the current-state comes after them and is the last child of its parent.
struct SnapshotTree {
  std::vector<std::size_t> roots;
  std::vector<std::vector<std::size_t>> children;  // children[node], oldest first; one more entry than snapshots
  std::size_t current = 0;                         // the node that stands for the current-state
};
SnapshotTree build_snapshot_tree(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent);

// The exact tree in one line without a newline, for example "s1->s2->{s3->s4->(current-state), s5}". Several roots are
// separated by ", ".
std::string tree_line(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent);

// The drawing of the tree line by line, for who writes the lines: the node, and the branches to draw before its name.
// A lone child stands below its parent in the same column, so that long chains stay readable; branches are indented, at
// most 32 deep.
struct TreeBranch {
  std::size_t node = 0;
  std::string mark;  // for example "│   ├── "
};
std::vector<TreeBranch> tree_branches(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent);

// tree_line(), an empty line, then a drawing with one line a state: name, time taken (UTC), allocated bytes, hold and
// the first line of the description. Ends in a newline.
std::string tree_text(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent);

// RFC 3339 in UTC with nanoseconds, for example "2026-11-23T18:05:00.000000001Z".
std::string rfc3339_utc(std::int64_t seconds, std::uint32_t nanoseconds);

// For example "512 B", "1.5 MiB", "20 GiB": three significant digits at most, never rounded up to the next unit.
std::string human_bytes(std::uint64_t bytes);

}  // namespace fvd

#endif  // FVD_IMAGE_TREE_TEXT_H_
