// Workers: the threads that take the kernel's requests and serve them, and the memory that requests are taken into.
//
// The kernel gives a request to a thread only into memory for the largest one, 1 MiB, and touched memory stays. So
// four large writes at a time are served or waited for, and no more than four threads keep the memory of one; the
// others give theirs back. How many wait for a request at a time, two or more, goes by how often nobody was left and
// how many large reads there are.
#ifndef FVDFS_WORKERS_H_
#define FVDFS_WORKERS_H_

#include <cstddef>
#include <span>

#include "fuse/lowlevel.h"

namespace fvdfs {

// Largest WRITE, bytes. A request for which there is no room would fail.
inline constexpr std::size_t kMaxWrite = 1U << 20;

// Serves the session's requests until it ends; SIGUSR1, which must not be ignored, makes the caller look whether it
// has. 0, or a negative errno. REQUIRES a transport (transport.h) and one session in the process.
int serve_requests(fuse_session* session);

// Page-aligned memory that the request which the calling thread serves does not need: up to its end, or until the
// thread's next call. Empty in other threads.
std::span<std::byte> spare_memory();

}  // namespace fvdfs

#endif  // FVDFS_WORKERS_H_
