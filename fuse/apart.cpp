#include "fuse/apart.h"

#include <sched.h>
#include <unistd.h>

#include <climits>
#include <thread>

namespace fvdfs {

void run_apart(const std::function<void()>& call) {
  std::thread thread([&call] {
    if (::unshare(CLONE_FILES) == 0) (void)::close_range(0, UINT_MAX, 0);
    call();
  });
  thread.join();
}

}  // namespace fvdfs
