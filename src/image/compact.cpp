// Compacting: what the background does by and by, done at once and to the end.
#include <algorithm>
#include <mutex>
#include <new>

#include "image/image_impl.h"

namespace fvd {

Status ImageImpl::compact(const WorkProgress& progress) try {
  if (Status s = begin_change(); !s) return s;
  // Each step is an ordinary copy-on-write of blocks. Only partial chunks of the front's own are completed: those that
  // a snapshot holds too stay partial for as long as it does.
  std::uint64_t total = partial_chunks_.load();
  std::uint32_t cursor = 0;
  for (;;) {
    const std::uint64_t left = partial_chunks_.load();
    total = std::max(total, left);
    if (progress && !progress((total - left) << geometry_.chunk_log2, total << geometry_.chunk_log2)) {
      return {Code::kBusy, "asked to end"};
    }
    const auto went_on = complete_one(&cursor);
    if (!went_on) return went_on.status();
    if (!*went_on) break;
  }
  const std::lock_guard operation(operation_);
  if (Status s = commit_all(); !s) return s;
  if (storage_.file().is_block_device()) {
    reclaim();
    return Status::ok();
  }
  release_freed();
  // What is held lies at the end of the file or before it; whoever changes something next holds space anew.
  (void)held_.release();
  space_changed();
  // The base table moves to the first place that is free now; on a full disk it stays.
  if (Status s = checkpoint(false); !s && s.code() != Code::kNoSpace) return s;
  release_freed();
  (void)reclaimer_.give_all();
  if (Status s = allocator_.cut_tail(); !s) {
    // Nothing may go on with chunks that are not wholly in the file.
    const auto size = storage_.file().size();
    if (!size || geometry_.chunks_in(*size) < allocator_.chunks_in_file()) set_failed(s);
    return s;
  }
  Status s = storage_.sync();
  if (!s) set_failed(s);
  return s;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace fvd
