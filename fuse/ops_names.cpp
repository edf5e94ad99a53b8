// Names, attributes and directories.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fuse/dot_fvd.h"
#include "fuse/filesystem.h"

namespace fvdfs {
namespace {

constexpr double kForever = 86400;  // for what cannot change while the mount lives

struct FixedName {
  std::uint64_t parent;
  const char* name;
  std::uint64_t inode;
};
constexpr std::array<FixedName, 7> kFixedNames{{{kRootInode, "current-state", kCurrentInode},
                                                {kRootInode, "snapshots", kSnapshotsInode},
                                                {kRootInode, ".fvd", kDotFvdInode},
                                                {kDotFvdInode, "tree", kTreeInode},
                                                {kDotFvdInode, "info.json", kInfoInode},
                                                {kDotFvdInode, "metrics", kMetricsInode},
                                                {kDotFvdInode, "send", kSendFolderInode}}};

bool is_fixed(std::uint64_t inode) {
  return std::any_of(kFixedNames.begin(), kFixedNames.end(), [&](const auto& f) { return f.inode == inode; });
}

bool is_text(NodeKind kind) { return kind == NodeKind::kTree || kind == NodeKind::kInfo || kind == NodeKind::kMetrics; }

}  // namespace

std::optional<std::uint64_t> Filesystem::child_of(std::uint64_t parent, const char* name) const {
  for (const FixedName& fixed : kFixedNames) {
    if (fixed.parent == parent && std::strcmp(fixed.name, name) == 0) return fixed.inode;
  }
  const Node node = node_of(parent);
  switch (node.kind) {
    case NodeKind::kRoot:
      if (std::strcmp(name, "parent") == 0 && image_.current_parent() != 0) return kParentInode;
      break;
    case NodeKind::kSnapshots:
      if (const auto info = image_.find_snapshot(name)) return snapshot_inode(info->id);
      break;
    case NodeKind::kSnapshot:
      if (std::strcmp(name, "disk.raw") == 0) return disk_inode(node.snapshot);
      if (std::strcmp(name, "parent") == 0) return link_inode(node.snapshot);
      break;
    case NodeKind::kSendFolder:
      if (const auto send = find_send(image_, name); send && has_send_inode(send->since)) {
        return send_inode(send->snapshot, send->since);
      }
      break;
    default:
      break;
  }
  return std::nullopt;
}

std::string Filesystem::dot_fvd_text(NodeKind kind) const {
  if (kind == NodeKind::kTree) return render_tree(image_);
  if (kind == NodeKind::kInfo) return render_info(image_);
  return render_metrics(image_.metrics());
}

bool Filesystem::attributes_of(std::uint64_t inode, struct stat* st) const {
  if (!attributes_.get(inode, st)) return false;
  const Node node = node_of(inode);
  if (is_text(node.kind)) st->st_size = static_cast<off_t>(dot_fvd_text(node.kind).size());
  return true;
}

void Filesystem::reply_attributes(fuse_req_t req, std::uint64_t inode) {
  struct stat st {};
  if (!attributes_of(inode, &st)) {
    fuse_reply_err(req, ENOENT);
    return;
  }
  // Sizes and times change by requests of others, so nothing is cached, with one exception: with the writeback cache
  // the kernel owns size and times of current-state, and would ask for the rest before every single write.
  fuse_reply_attr(req, &st, options_.writeback_cache && inode == kCurrentInode ? 1.0 : 0.0);
}

void Filesystem::reply_entry(fuse_req_t req, std::uint64_t inode) {
  fuse_entry_param entry{};
  if (!attributes_of(inode, &entry.attr)) {
    fuse_reply_err(req, ENOENT);
    return;
  }
  entry.ino = inode;
  // Names of snapshots and links to them come and go, also behind the kernel's back: a goto makes it believe that the
  // snapshot is now called current-state, which only a fresh lookup heals.
  entry.entry_timeout = is_fixed(inode) ? kForever : 0.0;
  entry.attr_timeout = options_.writeback_cache && inode == kCurrentInode ? 1.0 : 0.0;
  fuse_reply_entry(req, &entry);
}

void Filesystem::lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  // In .fvd/send two names stand in one.
  if (std::strlen(name) > (parent == kSendFolderInode ? 2 * fvd::kMaxNameBytes + 2 : fvd::kMaxNameBytes)) {
    fuse_reply_err(req, ENAMETOOLONG);
    return;
  }
  const auto inode = child_of(parent, name);
  if (!inode) {
    fuse_reply_err(req, ENOENT);
    return;
  }
  reply_entry(req, *inode);
}

void Filesystem::getattr(fuse_req_t req, fuse_ino_t inode, fuse_file_info* fi) {
  if (fi != nullptr && is_text(node_of(inode).kind)) {
    struct stat st {};
    (void)attributes_.get(inode, &st);
    st.st_size = static_cast<off_t>(file_handle(fi).text->size());
    fuse_reply_attr(req, &st, 0);
    return;
  }
  reply_attributes(req, inode);
}

void Filesystem::setattr(fuse_req_t req, fuse_ino_t inode, struct stat* attr, int to_set, fuse_file_info* fi) {
  if (inode == kCurrentInode && (to_set & FUSE_SET_ATTR_SIZE) != 0 && page_cache_.is_sizing(fuse_req_ctx(req)->pid)) {
    reply_attributes(req, inode);
    return;
  }
  if (inode == kCurrentInode && (to_set & FUSE_SET_ATTR_MODE) != 0 && page_cache_.run_held(fuse_req_ctx(req)->pid)) {
    reply_attributes(req, inode);
    return;
  }
  const Node node = node_of(inode);
  if (image_.read_only()) {
    fuse_reply_err(req, EROFS);
    return;
  }
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
    int error = EPERM;
    if (node.kind == NodeKind::kCurrent) {
      error = resize(static_cast<std::uint64_t>(attr->st_size), fi);
    } else if (node.kind == NodeKind::kDisk) {
      error = EROFS;
    }
    if (error != 0) {
      fuse_reply_err(req, error);
      return;
    }
  }
  AttributeChange change;
  if ((to_set & FUSE_SET_ATTR_MODE) != 0) {
    change.mode = attr->st_mode & (node.kind == NodeKind::kSnapshot ? 07777U : 0777U);
  }
  if ((to_set & FUSE_SET_ATTR_UID) != 0) change.uid = attr->st_uid;
  if ((to_set & FUSE_SET_ATTR_GID) != 0) change.gid = attr->st_gid;
  timespec now{};
  (void)::clock_gettime(CLOCK_REALTIME, &now);
  if ((to_set & FUSE_SET_ATTR_ATIME) != 0) change.atime = attr->st_atim;
  if ((to_set & FUSE_SET_ATTR_MTIME) != 0) change.mtime = attr->st_mtim;
  if ((to_set & FUSE_SET_ATTR_ATIME_NOW) != 0) change.atime = now;
  if ((to_set & FUSE_SET_ATTR_MTIME_NOW) != 0) change.mtime = now;
  if (change.mode || change.uid || change.gid || change.atime || change.mtime) {
    if (node.kind != NodeKind::kCurrent && node.kind != NodeKind::kSnapshot && node.kind != NodeKind::kDisk) {
      fuse_reply_err(req, EPERM);
      return;
    }
    attributes_.change(inode, change);
  }
  reply_attributes(req, inode);
}

std::string Filesystem::link_target(Node node) const {
  fvd::SnapshotId parent = 0;
  if (node.kind == NodeKind::kParent) {
    parent = image_.current_parent();
  } else if (node.kind == NodeKind::kSnapshotLink) {
    if (const auto info = image_.find_snapshot(node.snapshot)) parent = info->parent;
  }
  const auto info = parent == 0 ? std::nullopt : image_.find_snapshot(parent);
  if (!info) return {};
  return (node.kind == NodeKind::kParent ? "snapshots/" : "../") + info->name;
}

void Filesystem::readlink(fuse_req_t req, fuse_ino_t inode) {
  const Node node = node_of(inode);
  if (node.kind != NodeKind::kParent && node.kind != NodeKind::kSnapshotLink) {
    fuse_reply_err(req, EINVAL);
    return;
  }
  const std::string target = link_target(node);
  if (target.empty()) {
    fuse_reply_err(req, ENOENT);
    return;
  }
  fuse_reply_readlink(req, target.c_str());
}

std::vector<DirectoryHandle::Entry> Filesystem::list(std::uint64_t inode) const {
  std::vector<DirectoryHandle::Entry> entries{{".", inode, S_IFDIR}};
  const Node node = node_of(inode);
  switch (node.kind) {
    case NodeKind::kRoot:
      entries.push_back({"..", kRootInode, S_IFDIR});
      entries.push_back({"current-state", kCurrentInode, S_IFREG});
      if (image_.current_parent() != 0) entries.push_back({"parent", kParentInode, S_IFLNK});
      entries.push_back({"snapshots", kSnapshotsInode, S_IFDIR});
      break;
    case NodeKind::kSnapshots:
      entries.push_back({"..", kRootInode, S_IFDIR});
      for (const fvd::SnapshotInfo& snapshot : image_.snapshots()) {
        entries.push_back({snapshot.name, snapshot_inode(snapshot.id), S_IFDIR});
      }
      break;
    case NodeKind::kSnapshot:
      entries.push_back({"..", kSnapshotsInode, S_IFDIR});
      if (const auto info = image_.find_snapshot(node.snapshot)) {
        entries.push_back({"disk.raw", disk_inode(info->id), S_IFREG});
        if (info->parent != 0) entries.push_back({"parent", link_inode(info->id), S_IFLNK});
      }
      break;
    case NodeKind::kDotFvd:
      entries.push_back({"..", kRootInode, S_IFDIR});
      for (const FixedName& fixed : kFixedNames) {
        const mode_t type = fixed.inode == kSendFolderInode ? S_IFDIR : S_IFREG;
        if (fixed.parent == kDotFvdInode) entries.push_back({fixed.name, fixed.inode, type});
      }
      break;
    case NodeKind::kSendFolder:
      // Those since another snapshot are there too, but would be too many to list.
      entries.push_back({"..", kDotFvdInode, S_IFDIR});
      for (const fvd::SnapshotInfo& snapshot : image_.snapshots()) {
        entries.push_back({snapshot.name, send_inode(snapshot.id, 0), S_IFREG});
      }
      break;
    default:
      break;
  }
  return entries;
}

void Filesystem::opendir(fuse_req_t req, fuse_ino_t inode, fuse_file_info* fi) {
  struct stat st {};
  if (!attributes_.get(inode, &st)) {
    fuse_reply_err(req, ENOENT);
    return;
  }
  auto handle = std::make_unique<DirectoryHandle>();
  fi->fh = reinterpret_cast<std::uint64_t>(handle.get());
  // An open that was interrupted is never released by the kernel.
  if (fuse_reply_open(req, fi) == 0) (void)handle.release();
}

void Filesystem::readdir(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info* fi) {
  std::vector<char> buffer(size);
  std::size_t used = 0;
  {
    DirectoryHandle& handle = directory_handle(fi);
    const std::lock_guard lock(handle.mutex);
    if (offset == 0) handle.entries = list(inode);
    for (auto i = static_cast<std::size_t>(offset); i < handle.entries.size(); ++i) {
      const DirectoryHandle::Entry& entry = handle.entries[i];
      struct stat st {};
      st.st_ino = entry.inode;
      st.st_mode = entry.type;
      const std::size_t needed =
          fuse_add_direntry(req, buffer.data() + used, size - used, entry.name.c_str(), &st, static_cast<off_t>(i + 1));
      if (needed > size - used) break;
      used += needed;
    }
  }
  // Not with the handle still locked: once it has the reply, the caller may close the directory, and the handle is
  // gone.
  fuse_reply_buf(req, buffer.data(), used);
}

void Filesystem::releasedir(fuse_req_t req, fuse_ino_t /*inode*/, fuse_file_info* fi) {
  delete &directory_handle(fi);
  fuse_reply_err(req, 0);
}

// Operations on snapshots are durable when they return, so there is nothing left to do.
void Filesystem::fsyncdir(fuse_req_t req, fuse_ino_t /*inode*/, int /*datasync*/, fuse_file_info* /*fi*/) {
  fuse_reply_err(req, 0);
}

void Filesystem::statfs(fuse_req_t req, fuse_ino_t /*inode*/) {
  // `df` then shows as size the virtual disk's, as used what current-state has allocated, and as available what the
  // host can still give.
  struct statvfs st {};
  constexpr std::uint64_t kUnit = fvd::kSectorSize;
  const std::uint64_t virtual_size = image_.virtual_size();
  const std::uint64_t used = std::min(image_.allocated(), virtual_size);
  st.f_bsize = 4096;
  st.f_frsize = kUnit;
  st.f_blocks = virtual_size / kUnit;
  st.f_bfree = (virtual_size - used) / kUnit;
  struct stat image {};
  struct statvfs host {};
  if (options_.image_fd >= 0 && ::fstat(options_.image_fd, &image) == 0) {
    if (S_ISBLK(image.st_mode)) {
      const fvd::ImageInfo info = image_.info();
      st.f_bavail = (info.chunks_total - std::min(info.chunks_used, info.chunks_total)) * info.chunk_size / kUnit;
    } else if (::fstatvfs(options_.image_fd, &host) == 0) {
      st.f_bavail = host.f_bavail * host.f_frsize / kUnit;
    }
  }
  const std::size_t snapshots = image_.snapshots().size();
  st.f_files = fvd::kMaxSnapshots;
  st.f_ffree = st.f_favail = fvd::kMaxSnapshots - std::min(snapshots, fvd::kMaxSnapshots);
  st.f_namemax = fvd::kMaxNameBytes;
  fuse_reply_statfs(req, &st);
}

}  // namespace fvdfs
