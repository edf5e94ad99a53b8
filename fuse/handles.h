// What an open file or directory of the mount is to the daemon. One handle belongs to one open(2); libfuse passes it
// back as fuse_file_info::fh. Files: immutable after open, so any thread may use them. Directories: see
// DirectoryHandle.
#ifndef FVDFS_HANDLES_H_
#define FVDFS_HANDLES_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fuse/inodes.h"
#include "fuse/lowlevel.h"
#include "fvd/image.h"
#include "fvd/stream.h"

namespace fvdfs {

// A stream of .fvd/send: read from its beginning to its end, each byte once. Under `mutex`: two threads may read one
// descriptor.
struct StreamHandle {
  std::mutex mutex;
  std::unique_ptr<fvd::SendStream> stream;
  std::uint64_t position = 0;  // bytes given
};

struct FileHandle {
  Node node;
  bool writer = false;                         // counted in Writers
  bool direct = false;                         // its requests pass the kernel's page cache
  bool emptied = false;                        // opened with O_TRUNC
  fvd::StateReader* state = nullptr;           // what is read; nullptr for what is in .fvd
  std::shared_ptr<fvd::StateReader> snapshot;  // owner of `state` for a disk.raw: keeps the snapshot from deletion
  // Content of a file of .fvd, as it was at open. Shared with its readers: once the caller has the reply it may close.
  std::shared_ptr<const std::string> text;
  std::shared_ptr<StreamHandle> stream;  // shared for the same reason
};

// The listing is made when reading starts at the beginning, so that one pass through a directory neither skips nor
// repeats a name while snapshots come and go. Under `mutex`: two threads may read one descriptor.
struct DirectoryHandle {
  struct Entry {
    std::string name;
    std::uint64_t inode = 0;
    mode_t type = 0;  // S_IFDIR, S_IFREG, S_IFLNK
  };
  std::mutex mutex;
  std::vector<Entry> entries;
};

inline FileHandle& file_handle(const fuse_file_info* fi) { return *reinterpret_cast<FileHandle*>(fi->fh); }
inline DirectoryHandle& directory_handle(const fuse_file_info* fi) {
  return *reinterpret_cast<DirectoryHandle*>(fi->fh);
}

}  // namespace fvdfs

#endif  // FVDFS_HANDLES_H_
