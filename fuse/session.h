// Session: one mount from start to end.
//
// Order of the start: options are absolute, the process is in the background, the log is open; then the image is opened
// (locked, recovered), mounted, and the caller is told once the kernel has said hello. Order of the end, whether by
// unmount or by a signal: no more requests, image closed, pidfile removed.
#ifndef FVDFS_SESSION_H_
#define FVDFS_SESSION_H_

#include "fuse/daemon.h"
#include "fuse/options.h"

namespace fvdfs {

// Runs the mount to its end and returns the exit status. Failures are one line on standard error while `daemon` is not
// ready, and in the log after that.
int run_session(const Options& options, Daemon& daemon);

}  // namespace fvdfs

#endif  // FVDFS_SESSION_H_
