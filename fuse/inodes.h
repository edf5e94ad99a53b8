// Inode numbers of the mount: a pure function of what a node is, so they are the same after a goto and after a remount.
//
// They serve as libfuse node ids too. Snapshot ids are never reused, so a number never comes to mean something else,
// and the daemon needs no table of nodes and no lookup counts. Pure functions; thread-safe.
#ifndef FVDFS_INODES_H_
#define FVDFS_INODES_H_

#include <cstdint>

#include "fvd/image.h"

namespace fvdfs {

enum class NodeKind : std::uint8_t {
  kNone,  // no such inode
  kRoot,
  kSnapshots,     // the directory `snapshots`
  kCurrent,       // current-state
  kParent,        // the symbolic link `parent` in the root
  kDotFvd,        // the hidden directory `.fvd`
  kTree,          // .fvd/tree
  kInfo,          // .fvd/info.json
  kMetrics,       // .fvd/metrics
  kSnapshot,      // the directory of one snapshot
  kDisk,          // its disk.raw
  kSnapshotLink,  // its symbolic link `parent`
};

struct Node {
  NodeKind kind = NodeKind::kNone;
  fvd::SnapshotId snapshot = 0;  // of the last three kinds
};

inline constexpr std::uint64_t kRootInode = 1;  // FUSE_ROOT_ID
inline constexpr std::uint64_t kSnapshotsInode = 2;
inline constexpr std::uint64_t kCurrentInode = 3;
inline constexpr std::uint64_t kParentInode = 4;
inline constexpr std::uint64_t kDotFvdInode = 5;
inline constexpr std::uint64_t kTreeInode = 6;
inline constexpr std::uint64_t kInfoInode = 7;
inline constexpr std::uint64_t kMetricsInode = 8;

// Three of each sixteen numbers from 16 on belong to a snapshot.
constexpr std::uint64_t snapshot_inode(fvd::SnapshotId id) { return std::uint64_t{id} << 4; }
constexpr std::uint64_t disk_inode(fvd::SnapshotId id) { return snapshot_inode(id) | 1; }
constexpr std::uint64_t link_inode(fvd::SnapshotId id) { return snapshot_inode(id) | 2; }

constexpr Node node_of(std::uint64_t inode) {
  switch (inode) {
    case kRootInode:
      return {NodeKind::kRoot, 0};
    case kSnapshotsInode:
      return {NodeKind::kSnapshots, 0};
    case kCurrentInode:
      return {NodeKind::kCurrent, 0};
    case kParentInode:
      return {NodeKind::kParent, 0};
    case kDotFvdInode:
      return {NodeKind::kDotFvd, 0};
    case kTreeInode:
      return {NodeKind::kTree, 0};
    case kInfoInode:
      return {NodeKind::kInfo, 0};
    case kMetricsInode:
      return {NodeKind::kMetrics, 0};
    default:
      break;
  }
  const std::uint64_t id = inode >> 4;
  if (id == 0 || id > UINT32_MAX) return {};
  const auto snapshot = static_cast<fvd::SnapshotId>(id);
  switch (inode & 15) {
    case 0:
      return {NodeKind::kSnapshot, snapshot};
    case 1:
      return {NodeKind::kDisk, snapshot};
    case 2:
      return {NodeKind::kSnapshotLink, snapshot};
    default:
      return {};
  }
}

}  // namespace fvdfs

#endif  // FVDFS_INODES_H_
