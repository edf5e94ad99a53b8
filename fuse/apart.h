// run_apart: calls into this daemon's own mount that cannot keep a killed daemon alive.
//
// Such a call may wait in the kernel, where no signal reaches it, for an answer of this very daemon. Were the thread to
// share the daemon's descriptors, kill -9 would never end: the thread waits for the answer, and the kernel would give
// the wait up only once the last thread that has the connection open is gone. So the call runs in a thread that has no
// descriptor of the daemon's. Thread-safe.
#ifndef FVDFS_APART_H_
#define FVDFS_APART_H_

#include <functional>

namespace fvdfs {

// Runs `call` in a thread of its own and waits for it. `call` sees no descriptor that was opened before and must close
// those that it opens; it neither logs nor answers requests.
void run_apart(const std::function<void()>& call);

}  // namespace fvdfs

#endif  // FVDFS_APART_H_
