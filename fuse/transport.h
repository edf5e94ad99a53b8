// Transport: reading requests from /dev/fuse and writing replies, with two additions to what libfuse negotiates.
//
// Before each write the kernel asks for the attribute security.capability of the file, to know whether the write must
// clear it: a second round trip for every single write. A daemon that takes this upon itself (FUSE_HANDLE_KILLPRIV_V2)
// is not asked. libfuse 3.14 has no name for that capability, so it is added to the reply to the first request here.
// The daemon's side of it is trivial: no regular file of the mount ever has setuid, setgid or capabilities.
//
// The other (FUSE_DIRECT_IO_ALLOW_MMAP) lets a file that was opened past the page cache be mapped all the same.
// Thread-safe.
#ifndef FVDFS_TRANSPORT_H_
#define FVDFS_TRANSPORT_H_

#include <sys/types.h>

#include <cstddef>

#include "fuse/lowlevel.h"

namespace fvdfs {

// REQUIRES a mounted session whose loop does not run yet. False when libfuse refuses, which leaves its own transport.
bool install_transport(fuse_session* session);
// Waits for the kernel's next request and puts it into the buffer; as read(2).
ssize_t take_request(int fd, std::byte* buffer, std::size_t size);

// Whether files may be opened past the page cache (FOPEN_DIRECT_IO) beside others that use it: the kernel must drop
// cached pages after such a write, not only before, and let such files be mapped. Known once the kernel has said hello.
bool can_pass_the_page_cache();
// As fuse_reply_open(), for a file whose requests pass the page cache and whose direct writes are served in parallel.
// REQUIRES can_pass_the_page_cache().
int reply_open_past_cache(fuse_req_t req, const fuse_file_info& fi);

}  // namespace fvdfs

#endif  // FVDFS_TRANSPORT_H_
