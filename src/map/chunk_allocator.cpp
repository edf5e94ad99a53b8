#include "map/chunk_allocator.h"

#include <algorithm>
#include <bit>

namespace fvd {
namespace {

// The file grows by at least this much at a time, so that neither its size nor its tail is a matter of every write.
constexpr std::uint64_t kGrowBytes = 64ULL << 20;

}  // namespace

void ChunkAllocator::reset(std::uint32_t chunks_in_file, const Bits& used) {
  const std::lock_guard lock(mutex_);
  limit_ = chunks_in_file + 1;
  used_.assign(limit_ / 64 + 1, 0);
  unzeroed_.assign(limit_ / 64 + 1, ~std::uint64_t{0});
  was_used_.assign(limit_ / 64 + 1, 0);
  zeroed_.assign(limit_ / 64 + 1, 0);
  set(used_, 0, true);
  used_count_ = 0;
  used.for_each([&](std::uint32_t c) {
    if (c == 0 || c >= limit_) return;
    set(used_, c, true);
    set(was_used_, c, true);
    ++used_count_;
  });
  cursor_ = 1;
}

std::uint32_t ChunkAllocator::find_free(std::uint32_t from, std::uint32_t to, bool zeroed) const {
  for (std::uint32_t c = from; c < to;) {
    const std::uint64_t unfit = used_[c / 64] | (zeroed ? unzeroed_[c / 64] : 0);
    const std::uint64_t free = ~unfit >> (c % 64);
    if (free != 0) {
      c += static_cast<std::uint32_t>(std::countr_zero(free));
      return c < to ? c : 0;
    }
    c = (c / 64 + 1) * 64;
  }
  return 0;
}

std::uint32_t ChunkAllocator::find_free_run(std::uint32_t count) const {
  for (std::uint32_t first = find_free(1, limit_); first != 0;) {
    std::uint32_t n = 1;
    while (n < count && first + n < limit_ && !bit(used_, first + n)) ++n;
    if (n == count) return first;
    first = find_free(first + n, limit_);
  }
  return 0;
}

std::uint32_t ChunkAllocator::find_last_free_run(std::uint32_t count) const {
  std::uint32_t n = 0;
  for (std::uint32_t c = limit_ - 1; c > 0; --c) {
    n = bit(used_, c) ? 0 : n + 1;
    if (n == count) return c;
  }
  return 0;
}

Status ChunkAllocator::grow(std::uint32_t count) {
  if (limit_ - 1 > format::kMaxChunk - count) return {Code::kNoSpace, "image " + file_.path() + " has no chunk left"};
  const std::uint32_t step = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      format::kMaxChunk - (limit_ - 1), std::max<std::uint64_t>(count, kGrowBytes >> geometry_.chunk_log2)));
  // After a crash the file may end within a chunk, with data of a request that was never acknowledged.
  const auto size = file_.size();
  if (!size) return size.status();
  std::uint32_t added = step;
  Status s = file_.truncate(geometry_.file_offset(limit_ - 1 + added) + geometry_.chunk_size());
  if (!s && step > count) {
    added = count;
    s = file_.truncate(geometry_.file_offset(limit_ - 1 + added) + geometry_.chunk_size());
  }
  grown_.store(true, std::memory_order_release);
  if (!s) return s;
  const std::uint32_t old_limit = limit_;
  limit_ += added;
  used_.resize(limit_ / 64 + 1, 0);
  unzeroed_.resize(limit_ / 64 + 1, 0);
  was_used_.resize(limit_ / 64 + 1, 0);
  zeroed_.resize(limit_ / 64 + 1, 0);
  for (std::uint32_t c = old_limit; c < limit_; ++c) {
    set(used_, c, false);
    set(unzeroed_, c, file_.is_block_device() || geometry_.file_offset(c) < *size);
    set(was_used_, c, false);
    set(zeroed_, c, false);
  }
  return Status::ok();
}

Result<ChunkAllocator::Allocation> ChunkAllocator::allocate(std::uint32_t count) {
  const std::lock_guard lock(mutex_);
  std::uint32_t first = 0;
  const std::uint32_t free = limit_ - 1 - used_count_;
  if (free >= count) {
    if (count == 1) {
      first = find_free(cursor_, limit_);
      if (first == 0) first = find_free(1, std::min(cursor_, limit_.load()));
    } else {
      first = find_free_run(count);
    }
  }
  if (first == 0) {
    // A run may begin with the free tail of the file.
    std::uint32_t tail = limit_;
    while (tail > 1 && !bit(used_, tail - 1)) --tail;
    const std::uint32_t have = limit_ - tail;
    if (Status s = grow(count - std::min(have, count - 1)); !s) return s;
    first = tail;
  }
  return take(first, count);
}

Result<ChunkAllocator::Allocation> ChunkAllocator::allocate_at_end(std::uint32_t count) {
  const std::lock_guard lock(mutex_);
  std::uint32_t first = find_last_free_run(count);
  if (first == 0) {
    if (Status s = grow(count); !s) return s;
    first = find_last_free_run(count);
  }
  const std::uint32_t cursor = cursor_;
  const Allocation place = take(first, count);
  cursor_ = cursor;
  return place;
}

Result<ChunkAllocator::Allocation> ChunkAllocator::allocate_zeroed() {
  const std::lock_guard lock(mutex_);
  if (const std::uint32_t first = find_free(1, limit_, true); first != 0) return take(first, 1);
  if (file_.is_block_device()) return Status(Code::kNoSpace, "image " + file_.path() + " has no zeroed chunk left");
  const std::uint32_t first = limit_;
  if (Status s = grow(1); !s) return s;
  return take(first, 1);
}

ChunkAllocator::Allocation ChunkAllocator::take(std::uint32_t first, std::uint32_t count) {
  Allocation result{first, true, false};
  for (std::uint32_t c = first; c < first + count; ++c) {
    set(used_, c, true);
    result.reads_zero = result.reads_zero && !bit(unzeroed_, c);
    result.was_zeroed = result.was_zeroed || bit(zeroed_, c);
    set(zeroed_, c, false);
    set(unzeroed_, c, true);  // whatever it holds from now on
    set(was_used_, c, true);
  }
  used_count_ += count;
  if (count == 1) cursor_ = first + 1;
  return result;
}

void ChunkAllocator::release(std::uint32_t first, std::uint32_t count, bool reads_zero) {
  const std::lock_guard lock(mutex_);
  for (std::uint32_t c = first; c < first + count; ++c) {
    if (!bit(used_, c)) continue;
    set(used_, c, false);
    set(unzeroed_, c, !reads_zero);
    set(zeroed_, c, reads_zero);
    if (reads_zero) set(was_used_, c, false);
    --used_count_;
  }
}

Status ChunkAllocator::cut_tail() {
  const std::lock_guard lock(mutex_);
  if (file_.is_block_device()) return Status::ok();
  std::uint32_t end = limit_;
  while (end > 1 && !bit(used_, end - 1)) --end;
  const auto end_of = [this](std::uint32_t limit) {
    return geometry_.data_offset + (std::uint64_t{limit - 1} << geometry_.chunk_log2);
  };
  if (Status s = file_.truncate(end_of(end)); !s) {
    (void)file_.truncate(end_of(limit_));  // it may have been done all the same
    return s;
  }
  limit_ = end;
  cursor_ = std::min(cursor_, limit_.load());
  used_.resize(limit_ / 64 + 1);
  unzeroed_.resize(limit_ / 64 + 1);
  was_used_.resize(limit_ / 64 + 1);
  zeroed_.resize(limit_ / 64 + 1);
  return Status::ok();
}

bool ChunkAllocator::is_used(std::uint32_t chunk) const {
  const std::lock_guard lock(mutex_);
  return chunk < limit_ && bit(used_, chunk);
}

std::uint32_t ChunkAllocator::used() const {
  const std::lock_guard lock(mutex_);
  return used_count_;
}

std::uint32_t ChunkAllocator::highest_used() const {
  const std::lock_guard lock(mutex_);
  std::uint32_t c = limit_ - 1;
  while (c > 0 && !bit(used_, c)) --c;
  return c;
}

ChunkAllocator::Run ChunkAllocator::next_unzeroed_run(std::uint32_t from, std::uint32_t max_count) const {
  const std::lock_guard lock(mutex_);
  const auto wanted = [&](std::uint32_t c) { return !bit(used_, c) && bit(unzeroed_, c); };
  std::uint32_t first = std::max<std::uint32_t>(from, 1);
  while (first < limit_ && !wanted(first)) ++first;
  const bool was_used = first < limit_ && bit(was_used_, first);
  std::uint32_t n = 0;
  while (first + n < limit_ && n < max_count && wanted(first + n) && bit(was_used_, first + n) == was_used) ++n;
  return {first, n, was_used};
}

}  // namespace fvd
