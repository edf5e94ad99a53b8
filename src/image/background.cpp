// The background thread: commits about twice a second what nobody has flushed, gives freed chunks back to the host, and
// completes partial chunks when the disk is idle.
#include <algorithm>
#include <mutex>
#include <new>
#include <shared_mutex>

#include "image/image_impl.h"
#include "map/block_bits.h"

namespace fvd {

using format::kChunkMask;
using format::kPartialFlag;
using format::kSharedFlag;

namespace {

constexpr std::uint64_t kCompletionPiece = 128 << 10;  // bytes copied under one hold of a stripe
constexpr std::uint64_t kCompletionRound = 8 << 20;    // ditto between two commits: what a flush may find unwritten
// Giving back rests so many times as long as it works, beside requests and beside those that wait for a sync: these
// wait for the host's file system to commit what was given back, too.
constexpr int kRest = 4;
constexpr int kRestBesideSyncs = 20;

}  // namespace

void ImageImpl::start_background() {
  if (read_only_ || (options_.commit_interval.count() == 0 && options_.completion_idle.count() == 0)) return;
  background_ = std::thread([this] {
    try {
      background_loop();
    } catch (const std::bad_alloc&) {
      (void)out_of_memory();  // nothing is left to do for an image that is read-only
    }
  });
}

void ImageImpl::background_loop() {
  const auto stopping = [this] {
    const std::lock_guard lock(background_mutex_);
    return stop_;
  };
  const bool commits = options_.commit_interval.count() != 0;
  const auto interval = commits ? options_.commit_interval : options_.completion_idle;
  std::uint64_t last_requests = requests();
  auto idle_since = std::chrono::steady_clock::now();
  bool completing = false;  // more can be done at once
  for (;;) {
    {
      std::unique_lock lock(background_mutex_);
      if (!stop_ && !reclaiming_ && !completing) background_wake_.wait_for(lock, interval);
      if (stop_) return;
    }
    completing = false;
    if (failed_.load(std::memory_order_acquire)) {
      reclaiming_ = false;
      continue;
    }
    const auto until = std::chrono::steady_clock::now() + interval;
    // So that no writer needs to wait for the host's answer.
    if (changed_.load(std::memory_order_relaxed) && space_stale_.load(std::memory_order_relaxed)) {
      (void)hold_more_space();
    }
    checkpoint_in_time();
    if (commits && wants_commit(interval / 8)) {
      const std::uint64_t epoch = current_epoch();
      if (commit_once(Commit::kInPlace).journal_full) {
        const std::lock_guard operation(operation_);
        if (current_epoch() == epoch) (void)checkpoint(false);
      }
    }
    if (storage_.file().is_block_device()) {
      reclaim();
    } else {
      release_freed();
      if (reclaiming_ || reclaimer_.wanted()) reclaim_some(until);
    }
    const auto now = std::chrono::steady_clock::now();
    if (requests() != last_requests) {
      last_requests = requests();
      idle_since = now;
    }
    if (reclaiming_ || options_.completion_idle.count() == 0 || now - idle_since < options_.completion_idle) continue;
    completing = complete_some(last_requests, stopping);
  }
}

void ImageImpl::checkpoint_in_time() {
  const std::uint64_t epoch = filling_epoch_.load(std::memory_order_acquire);
  if (epoch != current_epoch()) return;
  const std::unique_lock operation(operation_, std::try_to_lock);  // others may have it for long
  if (!operation.owns_lock() || epoch != current_epoch()) return;
  if (!checkpoint(false)) filling_epoch_.store(UINT64_MAX, std::memory_order_release);  // not before the next commit
}

// Something is to be committed, and those who flush do not commit anyway.
bool ImageImpl::wants_commit(std::chrono::milliseconds since) const {
  const bool wanted = !front_.changes.empty() || !quarantine_.empty() ||
                      (journal_has_data_.load(std::memory_order_acquire) && (!recent_.empty() || storage_.unsynced()));
  return wanted && std::chrono::steady_clock::now() - last_commit_.load(std::memory_order_acquire) >= since;
}

// Until somebody asks for something, or a commit should write what was copied; false when there is nothing to go on
// with.
bool ImageImpl::complete_some(std::uint64_t before, const std::function<bool()>& stopping) {
  for (std::uint64_t copied = 0; copied < kCompletionRound; copied += kCompletionPiece) {
    if (requests() != before || stopping()) return false;
    const auto one = complete_one(&completion_cursor_);
    if (!one || !*one) return false;
  }
  return true;
}

std::uint64_t ImageImpl::requests() const {
  return guest_reads_.load() + guest_writes_.load() + guest_flushes_.load() + guest_discard_bytes_.load();
}

// Copies the next missing blocks of one partial chunk of the front's own from its origin.
Result<bool> ImageImpl::complete_one(std::uint32_t* cursor) {
  if (partial_chunks_.load(std::memory_order_relaxed) == 0) return false;
  if (!begin_shorter_change()) return false;
  const std::shared_lock gate(gate_);
  const std::uint32_t size = front_.table.size();
  const auto wanted = [&](std::uint32_t v) {
    const std::uint32_t entry = front_.table.load(v);
    return is_own(entry) && (entry & kPartialFlag) != 0;
  };
  std::uint32_t looked = 0;
  if (*cursor >= size) *cursor = 0;
  while (looked < size && !wanted(*cursor)) {
    *cursor = *cursor + 1 < size ? *cursor + 1 : 0;
    ++looked;
  }
  if (looked == size) return false;
  const std::uint32_t v = *cursor;
  const std::lock_guard stripe(front_.stripe(v).mutex);
  if (!wanted(v)) return true;
  const std::uint32_t chunk = front_.table.load(v) & kChunkMask;
  const PartialMap::Entry partial = front_.stripe(v).partials.find(v);
  const std::uint32_t blocks = geometry_.blocks_per_chunk();
  const std::uint32_t first = run_end(partial.words, 0, blocks, true);
  const std::uint32_t most =
      std::max<std::uint32_t>(1, static_cast<std::uint32_t>(kCompletionPiece >> geometry_.block_log2));
  const std::uint32_t last = run_end(partial.words, first, std::min(blocks, first + most), false);
  const std::uint64_t offset = std::uint64_t{first} << geometry_.block_log2;
  const std::uint64_t length = std::uint64_t{last - first} << geometry_.block_log2;
  if (Status s = copy_or_zero(v, *partial.origin, chunk, offset, length); !s) return s;
  set_blocks(partial.words, first, last);
  if (count_blocks(partial.words) == blocks) {
    publish(v, chunk);
    completed_chunks_.fetch_add(1, std::memory_order_relaxed);
  } else {
    front_.changes.mark(v);
  }
  return true;
}

// As copy_blocks(), but leaves a hole where the origin has one.
Status ImageImpl::copy_or_zero(std::uint32_t v, std::uint32_t origin, std::uint32_t chunk, std::uint64_t offset,
                               std::uint64_t length) {
  bool hole = origin == format::kOriginZero || (origin == format::kOriginBase && base_ == nullptr);
  if (names_chunk(origin)) {
    const std::uint64_t from = geometry_.file_offset(origin) + offset;
    auto data = storage_.file().seek_data(from, from + length);
    if (!data) return data.status();
    hole = *data == from + length;
  }
  if (hole) return storage_.zero(geometry_.file_offset(chunk) + offset, length);
  return copy_blocks(v, origin, chunk, offset, length);
}

// Gives free chunks back to the host until it is time for the next commit.
void ImageImpl::reclaim_some(std::chrono::steady_clock::time_point until) {
  std::uint64_t last_requests = requests();
  std::uint64_t last_flushes = guest_flushes_.load();
  const bool at_end = reclaimer_.give_some([&](Reclaimer::Clock::duration taken) {
    const bool busy = std::exchange(last_requests, requests()) != last_requests;
    const bool syncs = std::exchange(last_flushes, guest_flushes_.load()) != last_flushes;
    std::unique_lock lock(background_mutex_);
    if (busy && !stop_) {
      background_wake_.wait_for(lock, (syncs ? kRestBesideSyncs : kRest) * taken, [this] { return stop_; });
    }
    return !stop_ && Reclaimer::Clock::now() < until;
  });
  reclaiming_ = !at_end;
}

}  // namespace fvd
