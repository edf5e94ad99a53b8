#include "image/reclaimer.h"

#include <algorithm>
#include <utility>

namespace fvd {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kShortestStep = 16 << 10;
constexpr std::uint64_t kLongestStep = 8 << 20;  // also the most that is out of circulation at once, or one chunk
constexpr std::uint64_t kFirstStep = 64 << 10;
constexpr milliseconds kLongStep{4};  // a step that takes longer makes the next one shorter

}  // namespace

Reclaimer::Reclaimer(Storage& storage, const format::Geometry& geometry, ChunkAllocator& allocator)
    : storage_(storage),
      geometry_(geometry),
      allocator_(allocator),
      most_chunks_(static_cast<std::uint32_t>(std::max<std::uint64_t>(1, kLongestStep >> geometry.chunk_log2))),
      step_(kFirstStep) {}

Status Reclaimer::give_run(ChunkAllocator::Run run, const Rest& rest, bool* gave) {
  bool go_on = true;
  return allocator_.zero_run(run, [&](ChunkAllocator::Run r) {
    std::uint64_t at = geometry_.file_offset(r.first);
    const std::uint64_t end = at + (std::uint64_t{r.count} << geometry_.chunk_log2);
    // Up to here what looks like a hole is one: everywhere, or where the call that was ended before has been.
    const std::uint64_t known = r.was_used ? std::clamp(std::exchange(punched_to_, 0), at, end) : end;
    while (at < end) {
      if (at < known) {
        auto data = storage_.file().seek_data(at, known);
        if (!data) return data.status();
        at = *data;
        if (at == end) break;
      }
      if (!go_on) {
        punched_to_ = at;
        return Status(Code::kBusy, "stopped");  // the whole run counts as not zeroed
      }
      const std::uint64_t step = step_.load(std::memory_order_relaxed);
      const std::uint64_t length = std::min(step, end - at);
      const auto start = Clock::now();
      if (Status zeroed = storage_.give_back(at, length); !zeroed) return zeroed;
      const auto taken = Clock::now() - start;
      *gave = true;
      at += length;
      if (taken > kLongStep) step_.store(std::max(kShortestStep, step / 2), std::memory_order_relaxed);
      if (taken < kLongStep / 2) step_.store(std::min(kLongestStep, step * 2), std::memory_order_relaxed);
      go_on = hurried_.load(std::memory_order_acquire) != 0 || rest(taken);
    }
    return Status::ok();
  });
}

bool Reclaimer::give_some(const Rest& rest) {
  if (cursor_ == 1) wanted_.store(false, std::memory_order_release);
  bool gave = false;
  for (;;) {
    const ChunkAllocator::Run run = allocator_.next_unzeroed_run(cursor_, most_chunks_);
    if (run.count == 0) break;
    cursor_ = run.first + run.count;
    const std::lock_guard lock(giving_);
    const Status s = give_run(run, rest, &gave);
    if (s.code() == Code::kBusy) {
      cursor_ = run.first;
      return false;
    }
    // Some of the run was allocated before it could be taken out of circulation.
    if (s.is_ok() && allocator_.next_unzeroed_run(run.first, 1).first < cursor_) look_again();
  }
  cursor_ = 1;
  return true;
}

bool Reclaimer::give_all() {
  bool gave = false;
  hurried_.fetch_add(1, std::memory_order_acq_rel);
  const std::lock_guard lock(giving_);
  for (std::uint32_t next = 1;;) {
    const ChunkAllocator::Run run = allocator_.next_unzeroed_run(next, most_chunks_);
    if (run.count == 0) break;
    next = run.first + run.count;
    (void)give_run(
        run, [](Clock::duration) { return true; }, &gave);  // what fails stays free as it is
  }
  hurried_.fetch_sub(1, std::memory_order_acq_rel);
  return gave;
}

}  // namespace fvd
