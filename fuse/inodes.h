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
  kSendFolder,    // .fvd/send
  kSnapshot,      // the directory of one snapshot
  kDisk,          // its disk.raw
  kSnapshotLink,  // its symbolic link `parent`
  kSend,          // its stream in .fvd/send, whole or since another
};

struct Node {
  NodeKind kind = NodeKind::kNone;
  fvd::SnapshotId snapshot = 0;  // of the last four kinds
  fvd::SnapshotId since = 0;     // of a stream of what changed: since that snapshot
};

inline constexpr std::uint64_t kRootInode = 1;  // FUSE_ROOT_ID
inline constexpr std::uint64_t kSnapshotsInode = 2;
inline constexpr std::uint64_t kCurrentInode = 3;
inline constexpr std::uint64_t kParentInode = 4;
inline constexpr std::uint64_t kDotFvdInode = 5;
inline constexpr std::uint64_t kTreeInode = 6;
inline constexpr std::uint64_t kInfoInode = 7;
inline constexpr std::uint64_t kMetricsInode = 8;
inline constexpr std::uint64_t kSendFolderInode = 9;

// Four of each sixteen numbers from 16 on belong to a snapshot.
constexpr std::uint64_t snapshot_inode(fvd::SnapshotId id) { return std::uint64_t{id} << 4; }
constexpr std::uint64_t disk_inode(fvd::SnapshotId id) { return snapshot_inode(id) | 1; }
constexpr std::uint64_t link_inode(fvd::SnapshotId id) { return snapshot_inode(id) | 2; }

// A stream between two snapshots has the highest bit set, then 31 bits of the older id and 32 of the other: an id from
// 2^31 on has no such number (since = 0 always has one).
inline constexpr std::uint64_t kPairFlag = std::uint64_t{1} << 63;
constexpr bool has_send_inode(fvd::SnapshotId since) { return since < (1U << 31); }
constexpr std::uint64_t send_inode(fvd::SnapshotId id, fvd::SnapshotId since) {
  return since == 0 ? snapshot_inode(id) | 3 : kPairFlag | std::uint64_t{since} << 32 | id;
}

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
    case kSendFolderInode:
      return {NodeKind::kSendFolder, 0};
    default:
      break;
  }
  if ((inode & kPairFlag) != 0) {
    const auto since = static_cast<fvd::SnapshotId>((inode & ~kPairFlag) >> 32);
    const auto newer = static_cast<fvd::SnapshotId>(inode);
    return since == 0 || newer == 0 ? Node{} : Node{NodeKind::kSend, newer, since};
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
    case 3:
      return {NodeKind::kSend, snapshot};
    default:
      return {};
  }
}

}  // namespace fvdfs

#endif  // FVDFS_INODES_H_
