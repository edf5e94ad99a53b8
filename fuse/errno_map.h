// The only place where a Status becomes an errno. Pure; thread-safe.
#ifndef FVDFS_ERRNO_MAP_H_
#define FVDFS_ERRNO_MAP_H_

#include "fvd/status.h"

namespace fvdfs {

// The errno that a system call on the mount answers for `code`; 0 for kOk.
int errno_of(fvd::Code code);

}  // namespace fvdfs

#endif  // FVDFS_ERRNO_MAP_H_
