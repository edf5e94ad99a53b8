// Logging of the daemon, and of libfuse through it.
#ifndef FVDFS_LOG_H_
#define FVDFS_LOG_H_

#include <string>

#include "fuse/options.h"

namespace fvdfs {

// Sets up the default logger: the file that `options` name (absolute), else standard error in the foreground, else the
// system log. False with one line in `error`. Before any thread but the first.
bool start_log(const Options& options, std::string* error);

// What libfuse last complained about since the last call; "" when it did not.
std::string take_libfuse_complaint();

}  // namespace fvdfs

#endif  // FVDFS_LOG_H_
