#include "fuse/attributes.h"

#include <cstring>
#include <mutex>
#include <string>

namespace fvdfs {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr blksize_t kBlockSize = 4096;

timespec now(clockid_t clock) {
  timespec time{};
  (void)::clock_gettime(clock, &time);
  return time;
}

std::int64_t to_nanoseconds(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

timespec from_nanoseconds(std::int64_t nanoseconds) {
  std::int64_t seconds = nanoseconds / kSecond;
  std::int64_t rest = nanoseconds % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --seconds;
  }
  return {seconds, rest};
}

void set_times(struct stat* st, const timespec& time) { st->st_atim = st->st_mtim = st->st_ctim = time; }

}  // namespace

Attributes::Attributes(const fvd::Image& image, const Owner& owner, timespec modified)
    : image_(image),
      owner_(owner),
      mounted_(now(CLOCK_REALTIME)),
      current_modified_(to_nanoseconds(modified)),
      tree_modified_(to_nanoseconds(modified)) {}

bool Attributes::get(std::uint64_t inode, struct stat* st) const {
  std::memset(st, 0, sizeof(*st));
  st->st_ino = inode;
  st->st_uid = owner_.uid;
  st->st_gid = owner_.gid;
  st->st_nlink = 1;
  st->st_blksize = kBlockSize;
  const Node node = node_of(inode);
  switch (node.kind) {
    case NodeKind::kNone:
      return false;
    case NodeKind::kRoot:
      st->st_mode = S_IFDIR | owner_.directory_mode;
      st->st_nlink = 3;
      set_times(st, from_nanoseconds(tree_modified_.load(std::memory_order_relaxed)));
      break;
    case NodeKind::kSnapshots:
      st->st_mode = S_IFDIR | owner_.directory_mode;
      st->st_nlink = static_cast<nlink_t>(2 + image_.snapshots().size());
      set_times(st, from_nanoseconds(tree_modified_.load(std::memory_order_relaxed)));
      break;
    case NodeKind::kCurrent:
      st->st_mode = S_IFREG | owner_.disk_mode;
      st->st_size = static_cast<off_t>(image_.virtual_size());
      st->st_blocks = static_cast<blkcnt_t>((image_.allocated() + 511) / 512);
      set_times(st, current_modified());
      break;
    case NodeKind::kParent: {
      const fvd::SnapshotId parent = image_.current_parent();
      if (parent == 0) return false;
      st->st_mode = S_IFLNK | 0777;
      st->st_size = static_cast<off_t>(link_length(parent, "snapshots/"));
      set_times(st, from_nanoseconds(tree_modified_.load(std::memory_order_relaxed)));
      break;
    }
    case NodeKind::kDotFvd:
    case NodeKind::kSendFolder:
      st->st_mode = S_IFDIR | (owner_.directory_mode & 0555U);
      st->st_nlink = 2;
      set_times(st, mounted_);
      break;
    case NodeKind::kTree:
    case NodeKind::kInfo:
    case NodeKind::kMetrics:
      // Names and sizes only, so whoever may list the snapshots may read them.
      st->st_mode = S_IFREG | (owner_.directory_mode & 0444U);
      set_times(st, now(CLOCK_REALTIME));
      break;
    case NodeKind::kSend: {
      // It gives the disk away, so whoever may not get at disk.raw may not read it either.
      struct stat folder {};
      if (!get(snapshot_inode(node.snapshot), &folder) || !get(disk_inode(node.snapshot), st)) return false;
      if (node.since != 0 && !image_.find_snapshot(node.since)) return false;
      st->st_ino = inode;
      st->st_mode = S_IFREG | (st->st_mode & 0444U & (folder.st_mode & 0111U) << 2U);
      st->st_size = 0;  // nobody knows before it was made
      st->st_blocks = 0;
      return true;
    }
    case NodeKind::kSnapshot:
    case NodeKind::kDisk:
    case NodeKind::kSnapshotLink: {
      const auto info = image_.find_snapshot(node.snapshot);
      if (!info || (node.kind == NodeKind::kSnapshotLink && info->parent == 0)) return false;
      fill_snapshot(*info, node.kind, st);
      if (node.kind == NodeKind::kDisk) st->st_mode = S_IFREG | (owner_.disk_mode & owner_.snapshot_mask);
      break;
    }
  }
  const std::shared_lock lock(mutex_);
  const auto found = changes_.find(inode);
  if (found == changes_.end()) return true;
  const AttributeChange& change = found->second;
  if (change.mode) st->st_mode = (st->st_mode & S_IFMT) | *change.mode;
  if (change.uid) st->st_uid = *change.uid;
  if (change.gid) st->st_gid = *change.gid;
  if (change.atime) st->st_atim = *change.atime;
  if (change.mtime) st->st_mtim = *change.mtime;
  return true;
}

void Attributes::fill_snapshot(const fvd::SnapshotInfo& info, NodeKind kind, struct stat* st) const {
  set_times(st, {info.created_seconds, info.created_nanoseconds});
  if (kind == NodeKind::kSnapshot) {
    st->st_mode = S_IFDIR | owner_.directory_mode;
    st->st_nlink = 2;
  } else if (kind == NodeKind::kDisk) {
    st->st_size = static_cast<off_t>(info.virtual_size);
    st->st_blocks = static_cast<blkcnt_t>((info.allocated + 511) / 512);
  } else {
    st->st_mode = S_IFLNK | 0777;
    st->st_size = static_cast<off_t>(link_length(info.parent, "../"));
  }
}

std::uint64_t Attributes::link_length(fvd::SnapshotId parent, const char* prefix) const {
  const auto info = image_.find_snapshot(parent);
  return std::strlen(prefix) + (info ? info->name.size() : 0);
}

void Attributes::change(std::uint64_t inode, const AttributeChange& change) {
  const std::unique_lock lock(mutex_);
  AttributeChange& kept = changes_[inode];
  if (change.mode) kept.mode = change.mode;
  if (change.uid) kept.uid = change.uid;
  if (change.gid) kept.gid = change.gid;
  if (change.atime) kept.atime = change.atime;
  if (!change.mtime) return;
  if (inode == kCurrentInode) {
    // The next write moves it on, so it lives where writes do.
    current_modified_.store(to_nanoseconds(*change.mtime), std::memory_order_relaxed);
  } else {
    kept.mtime = change.mtime;
  }
}

void Attributes::forget(std::uint64_t inode) {
  const std::unique_lock lock(mutex_);
  changes_.erase(inode);
}

void Attributes::note_write() {
  current_modified_.store(to_nanoseconds(now(CLOCK_REALTIME_COARSE)), std::memory_order_relaxed);
}

void Attributes::note_tree_change() {
  tree_modified_.store(to_nanoseconds(now(CLOCK_REALTIME)), std::memory_order_relaxed);
}

timespec Attributes::current_modified() const {
  return from_nanoseconds(current_modified_.load(std::memory_order_relaxed));
}

}  // namespace fvdfs
