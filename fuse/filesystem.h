// Filesystem: the requests of the mount, one method each, answered from a fvd::Image.
//
// No storage logic lives here. Each method checks, asks the image and replies exactly once. The methods are spread over
// ops_names.cpp (lookup, attributes, directories), ops_data.cpp (open files), ops_snapshot.cpp and ops_xattr.cpp.
//
// Threads: every method but start() and stop() may run on any number of libfuse's workers at once. Requests that must
// talk back to the kernel go to lanes (lane.h): `changes_` runs mkdir, goto and (without the writeback cache)
// emptying opens, which may wait for requests that workers serve; `notices_` tells the kernel things that wait for
// locks which the kernel holds during requests of the other lanes; `seeks_` runs lseek where it has to wait for what
// the kernel still holds dirty, and with it the kernel's lock of current-state, which jobs of the other two may be
// waiting for. A job of `changes_` never waits for one of `notices_`, and one of `seeks_` for neither.
#ifndef FVDFS_FILESYSTEM_H_
#define FVDFS_FILESYSTEM_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "fuse/attributes.h"
#include "fuse/failure_log.h"
#include "fuse/handles.h"
#include "fuse/lane.h"
#include "fuse/lowlevel.h"
#include "fuse/page_cache.h"
#include "fuse/writers.h"
#include "fvd/image.h"

namespace fvdfs {

struct FilesystemOptions {
  bool allow_shrink = false;
  bool writeback_cache = false;
  std::uint32_t max_read = 0;       // bytes of a read request; must be what the mount was made with
  std::uint32_t max_readahead = 0;  // bytes
  int image_fd = -1;  // any descriptor of the image (O_PATH will do), to ask what its file system has free
  Owner owner;
  timespec modified{};  // of the image, before the mount
  timespec created{};   // ditto
};

class Filesystem {
 public:
  // `image` must outlive the object.
  Filesystem(fvd::Image& image, const FilesystemOptions& options);
  Filesystem(const Filesystem&) = delete;
  Filesystem& operator=(const Filesystem&) = delete;

  // The table of requests for fuse_session_new(), whose user data must be the Filesystem.
  static const fuse_lowlevel_ops& operations();
  // Called once when the kernel has said hello: the mount answers from then on.
  void on_ready(std::function<void()> ready) { ready_ = std::move(ready); }

  void start(fuse_session* session, const std::string& mount_point);
  void stop();  // after the session's end: nothing runs any more when it returns
  // Has the kernel write what it holds dirty of current-state. Waits for workers: not on one of them.
  void flush_kernel();

  void init(fuse_conn_info* connection);
  void lookup(fuse_req_t req, fuse_ino_t parent, const char* name);
  void getattr(fuse_req_t req, fuse_ino_t inode, fuse_file_info* fi);
  void setattr(fuse_req_t req, fuse_ino_t inode, struct stat* attr, int to_set, fuse_file_info* fi);
  void readlink(fuse_req_t req, fuse_ino_t inode);
  void opendir(fuse_req_t req, fuse_ino_t inode, fuse_file_info* fi);
  void readdir(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info* fi);
  void releasedir(fuse_req_t req, fuse_ino_t inode, fuse_file_info* fi);
  void fsyncdir(fuse_req_t req, fuse_ino_t inode, int datasync, fuse_file_info* fi);
  void statfs(fuse_req_t req, fuse_ino_t inode);

  void open(fuse_req_t req, fuse_ino_t inode, fuse_file_info* fi);
  void release(fuse_req_t req, fuse_ino_t inode, fuse_file_info* fi);
  void read(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info* fi);
  void write(fuse_req_t req, fuse_ino_t inode, const char* data, size_t size, off_t offset, fuse_file_info* fi);
  void fsync(fuse_req_t req, fuse_ino_t inode, int datasync, fuse_file_info* fi);
  void fallocate(fuse_req_t req, fuse_ino_t inode, int mode, off_t offset, off_t length, fuse_file_info* fi);
  void lseek(fuse_req_t req, fuse_ino_t inode, off_t offset, int whence, fuse_file_info* fi);
  void copy_file_range(fuse_req_t req, fuse_ino_t in, off_t offset_in, fuse_file_info* fi_in, fuse_ino_t out,
                       off_t offset_out, fuse_file_info* fi_out, size_t length, int flags);
  void ioctl(fuse_req_t req, fuse_ino_t inode, unsigned int command, void* argument, fuse_file_info* fi, unsigned flags,
             const void* in, size_t in_size, size_t out_size);

  void mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode);
  void rmdir(fuse_req_t req, fuse_ino_t parent, const char* name);
  void rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name,
              unsigned int flags);
  void unlink(fuse_req_t req, fuse_ino_t parent, const char* name);
  void mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t device);
  void symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name);
  void link(fuse_req_t req, fuse_ino_t inode, fuse_ino_t parent, const char* name);
  void create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* fi);

  void getxattr(fuse_req_t req, fuse_ino_t inode, const char* name, size_t size);
  void listxattr(fuse_req_t req, fuse_ino_t inode, size_t size);
  void setxattr(fuse_req_t req, fuse_ino_t inode, const char* name, const char* value, size_t size, int flags);
  void removexattr(fuse_req_t req, fuse_ino_t inode, const char* name);

 private:
  bool attributes_of(std::uint64_t inode, struct stat* st) const;
  void reply_attributes(fuse_req_t req, std::uint64_t inode);
  void reply_entry(fuse_req_t req, std::uint64_t inode);
  void reply_refusal(fuse_req_t req);  // EPERM, or EROFS when nothing can change anyway
  void reply_status(fuse_req_t req, const fvd::Status& status, const char* what);
  int fail(const fvd::Status& status, const char* what) const;  // its errno, after a line in the log where it helps
  void note_that_it_worked();                                   // a request to change something
  [[nodiscard]] std::optional<std::uint64_t> child_of(std::uint64_t parent, const char* name) const;
  [[nodiscard]] std::string link_target(Node node) const;
  [[nodiscard]] std::vector<DirectoryHandle::Entry> list(std::uint64_t inode) const;
  [[nodiscard]] std::string dot_fvd_text(NodeKind kind) const;

  int resize(std::uint64_t size, const fuse_file_info* fi);
  void open_current(fuse_req_t req, fuse_file_info* fi);
  void empty_current(fuse_req_t req, std::unique_ptr<FileHandle> handle, fuse_file_info* fi);
  void reply_open(fuse_req_t req, std::unique_ptr<FileHandle> handle, fuse_file_info* fi);
  void read_stream(fuse_req_t req, const std::shared_ptr<StreamHandle>& handle, size_t size, off_t offset);
  void flush_kernel_if_dirty();
  // Runs `job` on a lane. Where it has no memory to go on, the request, which it answers last, fails with ENOMEM.
  static void run_on(Lane& lane, fuse_req_t req, std::function<void()> job);
  void tell_size(int looks);  // in the background, so many times, first a few milliseconds apart, then 64
  fvd::Result<fvd::SnapshotId> cut(const std::string& name);
  void go_to(fuse_req_t req, const std::string& name);

  void reply_xattr(fuse_req_t req, const std::string& value, size_t size);
  // The attribute's value; an errno in `error` otherwise.
  std::string xattr_value(std::uint64_t inode, std::string_view name, int* error) const;
  int change_xattr(std::uint64_t inode, std::string_view name, const std::string* value, int flags);

  fvd::Image& image_;
  const FilesystemOptions options_;
  Attributes attributes_;
  Writers writers_;
  PageCache page_cache_;
  Lane changes_;
  Lane notices_;
  Lane seeks_;
  std::atomic<std::uint32_t> holders_{0};  // open descriptors of current-state
  std::atomic<int> looks_{0};              // at the size that the kernel believes in, still to come in notices_
  mutable FailureLog no_space_;            // what failed for want of space on the host
  mutable FailureLog storage_failed_;      // what failed by the host's storage
  std::function<void()> ready_;
};

}  // namespace fvdfs

#endif  // FVDFS_FILESYSTEM_H_
