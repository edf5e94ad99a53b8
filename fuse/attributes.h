// Attributes: what `stat` shows of each node, and what chmod, chown and utimes changed of it.
//
// Changes are kept in memory for the life of the mount and never touch the image: they exist so that the tools that
// insist on them (mkdir -m, install -d, touch, cp -p, libvirt's chown) work. Thread-safe.
#ifndef FVDFS_ATTRIBUTES_H_
#define FVDFS_ATTRIBUTES_H_

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <ctime>
#include <optional>
#include <shared_mutex>
#include <unordered_map>

#include "fuse/inodes.h"
#include "fvd/image.h"

namespace fvdfs {

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t disk_mode = 0600;  // of current-state
  // What a disk.raw has of it. Where the kernel checks permissions all, as a file on a read-only file system has: who
  // may write current-state then gets as far as to the answer that a snapshot cannot be written, EROFS.
  mode_t snapshot_mask = 0444;
  mode_t directory_mode = 0755;
};

// Which of an inode's attributes setattr changes.
struct AttributeChange {
  std::optional<mode_t> mode;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<timespec> atime;
  std::optional<timespec> mtime;
};

class Attributes {
 public:
  // `modified` is when the image was last modified before the mount.
  Attributes(const fvd::Image& image, const Owner& owner, timespec modified);

  // Fills `st`; false when there is no such node (any more). The files of .fvd get their size from the caller.
  bool get(std::uint64_t inode, struct stat* st) const;
  void change(std::uint64_t inode, const AttributeChange& change);
  void forget(std::uint64_t inode);  // a snapshot is gone

  void note_write();        // current-state changes now; cheap
  void note_tree_change();  // a snapshot came, went or got another name

  [[nodiscard]] timespec current_modified() const;

 private:
  void fill_snapshot(const fvd::SnapshotInfo& info, NodeKind kind, struct stat* st) const;
  [[nodiscard]] std::uint64_t link_length(fvd::SnapshotId parent, const char* prefix) const;

  const fvd::Image& image_;
  const Owner owner_;
  const timespec mounted_;
  std::atomic<std::int64_t> current_modified_;  // nanoseconds since 1970
  std::atomic<std::int64_t> tree_modified_;
  mutable std::shared_mutex mutex_;
  std::unordered_map<std::uint64_t, AttributeChange> changes_;
};

}  // namespace fvdfs

#endif  // FVDFS_ATTRIBUTES_H_
