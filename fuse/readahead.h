// How far the kernel reads ahead in this mount: far enough for several requests of a sequential reader at once.
#ifndef FVDFS_READAHEAD_H_
#define FVDFS_READAHEAD_H_

#include <cstdint>
#include <string>

namespace fvdfs {

// The kernel starts each mount with 128 KiB and lets a daemon lower that only; root may raise it in sysfs. True when it
// is `bytes` now. Asks nothing of the mount itself, so any thread may call it. `mount_point` is absolute.
bool set_readahead(const std::string& mount_point, std::uint64_t bytes);

}  // namespace fvdfs

#endif  // FVDFS_READAHEAD_H_
