// What changes the tree of snapshots, and the refusal of everything else that changes names.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "fuse/errno_map.h"
#include "fuse/filesystem.h"

namespace fvdfs {
namespace {

constexpr const char* kCurrentName = "current-state";
constexpr unsigned kNoReplace = 1;  // RENAME_NOREPLACE

}  // namespace

// Order matters: first the kernel's dirty pages (of mappings, and of the writeback cache) reach the image while writers
// run on, then the cut is taken. What becomes dirty meanwhile may fall on either side.
void Filesystem::mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  if (image_.read_only()) {
    fuse_reply_err(req, EROFS);
    return;
  }
  if (parent != kSnapshotsInode) {
    fuse_reply_err(req, EPERM);
    return;
  }
  run_on(changes_, req, [this, req, snapshot = std::string(name), mode] {
    const auto id = cut(snapshot);
    if (!id) {
      fuse_reply_err(req, fail(id.status(), "snapshot"));
      return;
    }
    attributes_.note_tree_change();
    // The mode that was asked for must come back: tools like `install -d -m` would else complain about a snapshot
    // taken.
    AttributeChange change;
    change.mode = mode & 07777U;
    attributes_.change(snapshot_inode(*id), change);
    spdlog::info("snapshot {} taken", snapshot);
    reply_entry(req, snapshot_inode(*id));
  });
}

fvd::Result<fvd::SnapshotId> Filesystem::cut(const std::string& name) {
  const bool dirty = writers_.may_be_dirty();
  flush_kernel_if_dirty();
  if (!dirty || !options_.writeback_cache) return image_.snapshot_create(name);
  // With the writeback cache that flush passes over the file page by page while writers run on: of one writer's two
  // writes it can meet the later one and miss the earlier. So the cut itself is made with writers held for a moment.
  fvd::Result<fvd::SnapshotId> id = fvd::Status(fvd::Code::kBusy, "not run");
  struct stat st {};
  (void)attributes_.get(kCurrentInode, &st);
  if (page_cache_.with_writers_held(st.st_mode & 07777U, [&] { id = image_.snapshot_create(name); })) return id;
  return image_.snapshot_create(name);
}

void Filesystem::rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  if (image_.read_only()) {
    fuse_reply_err(req, EROFS);
    return;
  }
  if (parent != kSnapshotsInode) {
    fuse_reply_err(req, EPERM);
    return;
  }
  const auto info = image_.find_snapshot(name);
  fvd::Status status = image_.snapshot_delete(name);
  // The kernel reports a close asynchronously, so a reader that the caller just closed gets a little time to go.
  constexpr std::chrono::milliseconds kPause{2};
  for (auto waited = kPause; waited <= kPatience && status.code() == fvd::Code::kBusy && info && !info->held;
       waited += kPause) {
    std::this_thread::sleep_for(kPause);
    status = image_.snapshot_delete(name);
  }
  if (!status) {
    fuse_reply_err(req, fail(status, "deletion of a snapshot"));
    return;
  }
  attributes_.note_tree_change();
  if (info) {
    attributes_.forget(snapshot_inode(info->id));
    attributes_.forget(disk_inode(info->id));
  }
  spdlog::info("snapshot {} deleted", name);
  fuse_reply_err(req, 0);
}

void Filesystem::rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                        const char* new_name, unsigned int flags) {
  // Never EXDEV (mv would copy, then delete) and never ENOSYS (the kernel would not ask again).
  if ((flags & ~kNoReplace) != 0) {
    fuse_reply_err(req, EINVAL);
    return;
  }
  if (image_.read_only()) {
    fuse_reply_err(req, EROFS);
    return;
  }
  if (parent != kSnapshotsInode || new_parent != kSnapshotsInode) {
    fuse_reply_err(req, EPERM);
    return;
  }
  if (std::strcmp(new_name, kCurrentName) == 0) {
    go_to(req, name);
    return;
  }
  if (std::strcmp(name, new_name) == 0) {
    const bool exists = image_.find_snapshot(name).has_value();
    fuse_reply_err(req, !exists ? ENOENT : (flags & kNoReplace) != 0 ? EEXIST : 0);
    return;
  }
  const fvd::Status status = image_.snapshot_rename(name, new_name);
  if (status) {
    attributes_.note_tree_change();
    spdlog::info("snapshot {} renamed to {}", name, new_name);
  }
  reply_status(req, status, "renaming of a snapshot");
}

void Filesystem::go_to(fuse_req_t req, const std::string& name) {
  if (!image_.find_snapshot(name)) {
    fuse_reply_err(req, ENOENT);
    return;
  }
  run_on(changes_, req, [this, req, name] {
    if (!writers_.begin_exclusive(0)) {
      fuse_reply_err(req, EBUSY);
      return;
    }
    {
      const ExclusiveScope scope(writers_);
      const std::uint64_t old_size = image_.virtual_size();
      // Before: nothing dirty may be written over the new state. After: nothing old may be read from the cache.
      page_cache_.drop();
      const fvd::Status status = image_.snapshot_goto(name);
      page_cache_.drop();
      if (!status) {
        fuse_reply_err(req, fail(status, "goto"));
        return;
      }
      if (image_.virtual_size() != old_size) page_cache_.set_size(image_.virtual_size());
      attributes_.note_tree_change();
      attributes_.note_write();
      spdlog::info("went to snapshot {}", name);
    }
    // To the kernel the snapshot's directory is called current-state now, until somebody looks either name up: no name
    // of a snapshot is cached (reply_entry()). Looking it up from here would keep an unmount that follows busy.
    fuse_reply_err(req, 0);
  });
}

// Were this to succeed, `rm -r` and a `mv` to another file system would go on and delete the snapshot.
void Filesystem::unlink(fuse_req_t req, fuse_ino_t /*parent*/, const char* /*name*/) { reply_refusal(req); }

void Filesystem::mknod(fuse_req_t req, fuse_ino_t /*parent*/, const char* /*name*/, mode_t /*mode*/, dev_t /*device*/) {
  reply_refusal(req);
}

void Filesystem::symlink(fuse_req_t req, const char* /*target*/, fuse_ino_t /*parent*/, const char* /*name*/) {
  reply_refusal(req);
}

void Filesystem::link(fuse_req_t req, fuse_ino_t /*inode*/, fuse_ino_t /*parent*/, const char* /*name*/) {
  reply_refusal(req);
}

void Filesystem::create(fuse_req_t req, fuse_ino_t /*parent*/, const char* /*name*/, mode_t /*mode*/,
                        fuse_file_info* /*fi*/) {
  reply_refusal(req);
}

}  // namespace fvdfs
