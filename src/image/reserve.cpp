// Reserving: host storage for chunks that copy-on-write fills block by block.
//
// Into a hole the host allocates block by block, one writer at a time: half as many random writes a second, on ext4, as
// into storage that is there. So the second write that adds blocks to a chunk reserves all of it in one call, if its
// origin is data throughout: then that is what completing the chunk would take as well. What blocks that are not
// present hold means nothing, so storage can be reserved and given back beneath them at any time. No more is reserved
// than kMostReserved, nor than a part of what the host has left. It is given back little by little for chunks that a
// snapshot has come to hold, and when the host has little left, at a clean close, and before anything fails for want of
// space; after a crash completion fills it.
//
// A chunk that a snapshot has come to hold keeps its reservation in reserved_in_snapshots_, with the bitmap that will
// not change any more, until no snapshot reaches it: then settle() decides what becomes of it, and forgets it here.
#include <algorithm>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "image/image_impl.h"
#include "map/block_bits.h"

namespace fvd {

using format::kChunkMask;
using format::kPartialFlag;
using format::kSharedFlag;
using Reservation = PartialMap::Reservation;

namespace {

constexpr std::uint64_t kMostReserved = std::uint64_t{4} << 30;  // bytes
constexpr std::uint64_t kPartOfHost = 8;                         // no more than an eighth of what the host has left
// How long the background gives back, at each turn, what chunks of snapshots have reserved: they gain nothing from it,
// and would use up what may be reserved.
constexpr std::chrono::milliseconds kGivingBackBesideRequests{2};

}  // namespace

void ImageImpl::reserve_rest(std::uint32_t chunk, const PartialMap::Entry& partial) {
  if (*partial.reservation != Reservation::kNone || !names_chunk(*partial.origin)) return;
  if (reserved_chunks_.fetch_add(1) >= most_reserved_chunks_.load(std::memory_order_relaxed)) {
    reserved_chunks_.fetch_sub(1);
    return;
  }
  File& file = storage_.file();
  const std::uint64_t from = geometry_.file_offset(*partial.origin);
  const std::uint64_t to = from + geometry_.chunk_size();
  const auto hole = file.seek_hole(from, to);
  if (hole && *hole == to) {
    if (file.reserve(geometry_.file_offset(chunk), geometry_.chunk_size())) {
      *partial.reservation = Reservation::kHeld;
      return;
    }
    most_reserved_chunks_.store(0, std::memory_order_relaxed);
  }
  *partial.reservation = Reservation::kRefused;
  reserved_chunks_.fetch_sub(1);
}

void ImageImpl::adjust_reserve(Clock::time_point until) {
  if (!options_.reserve || storage_.file().is_block_device()) return;
  const std::uint64_t reserved = std::uint64_t{reserved_chunks_.load()} << geometry_.chunk_log2;
  const std::uint64_t available = storage_.file().available();
  const std::uint64_t all = available > ~reserved ? ~std::uint64_t{0} : available + reserved;
  const auto most = static_cast<std::uint32_t>(std::min(kMostReserved, all / kPartOfHost) >> geometry_.chunk_log2);
  most_reserved_chunks_.store(most, std::memory_order_relaxed);
  if (reserved == 0) return;
  // More than that only when others have filled the host meanwhile.
  const auto too_many = [&] { return reserved_chunks_.load() / 2 > most && Clock::now() < until; };
  const Clock::time_point a_little = Clock::now() + kGivingBackBesideRequests;
  const auto go_on = [&] { return Clock::now() < a_little || too_many(); };
  if (const std::unique_lock operation(operation_, std::try_to_lock); operation && !give_back_shared(go_on)) return;
  if (too_many()) (void)give_back_own(too_many);
}

Status ImageImpl::give_back_missing(std::uint32_t chunk, std::span<const std::uint64_t> words) {
  const std::uint32_t blocks = geometry_.blocks_per_chunk();
  for (std::uint32_t b = run_end(words, 0, blocks, true); b < blocks;) {
    const std::uint32_t end = run_end(words, b, blocks, false);
    const Status s = storage_.zero(geometry_.file_offset(chunk) + (std::uint64_t{b} << geometry_.block_log2),
                                   std::uint64_t{end - b} << geometry_.block_log2);
    if (!s) return s;
    b = run_end(words, end, blocks, true);
  }
  return Status::ok();
}

bool ImageImpl::give_back_own(const std::function<bool()>& go_on, Whose whose) {
  const auto wanted = [&](const PartialMap::Entry& partial) {
    return *partial.reservation == Reservation::kHeld || whose == Whose::kAnybodys;
  };
  std::vector<std::uint32_t> reserved;
  for (Front::Stripe& s : front_.stripes) {
    reserved.clear();
    {
      const std::lock_guard stripe(s.mutex);
      s.partials.for_each([&](std::uint32_t v, const PartialMap::Entry& partial) {
        if (wanted(partial)) reserved.push_back(v);
      });
    }
    for (const std::uint32_t v : reserved) {
      if (!go_on()) return false;
      const std::shared_lock gate(gate_);
      const std::lock_guard stripe(s.mutex);
      const PartialMap::Entry partial = s.partials.find(v);
      if (!partial || !wanted(partial)) continue;
      if (std::exchange(*partial.reservation, Reservation::kRefused) == Reservation::kHeld)
        reserved_chunks_.fetch_sub(1);
      (void)give_back_missing(front_.table.load(v) & kChunkMask, partial.words);
    }
  }
  return true;
}

bool ImageImpl::give_back_shared(const std::function<bool()>& go_on) {
  std::vector<std::uint32_t> chunks;
  reserved_in_snapshots_.for_each([&](std::uint32_t chunk, const PartialMap::Entry&) { chunks.push_back(chunk); });
  for (const std::uint32_t chunk : chunks) {
    if (!go_on()) return false;
    (void)give_back_missing(chunk, reserved_in_snapshots_.find(chunk).words);
    reserved_in_snapshots_.erase(chunk);
    reserved_chunks_.fetch_sub(1);
  }
  return true;
}

bool ImageImpl::give_back_reserved() {
  if (reserved_chunks_.load() == 0) return false;
  most_reserved_chunks_.store(0, std::memory_order_relaxed);  // until the background looks again
  const auto all = [] { return true; };
  (void)give_back_shared(all);
  (void)give_back_own(all);
  return true;
}

void ImageImpl::hand_on_reserved(const TableCapture& capture) {
  capture.for_each_reserved([&](std::uint32_t, std::uint32_t chunk, std::span<const std::uint64_t> words) {
    const PartialMap::Entry entry = reserved_in_snapshots_.insert(chunk, 0);
    std::copy(words.begin(), words.end(), entry.words.begin());
  });
}

void ImageImpl::take_back_reserved(const TableCapture& capture) {
  capture.for_each_reserved([&](std::uint32_t v, std::uint32_t chunk, std::span<const std::uint64_t>) {
    Front::Stripe& s = front_.stripe(v);
    const std::lock_guard stripe(s.mutex);
    const PartialMap::Entry partial = s.partials.find(v);
    if (partial && front_.table.load(v) == (chunk | kPartialFlag) && *partial.reservation == Reservation::kNone) {
      *partial.reservation = Reservation::kHeld;
    } else {
      reserved_chunks_.fetch_sub(1);
    }
  });
}

void ImageImpl::forget_reserved(const Bits& chunks) {
  std::vector<std::uint32_t> gone;
  reserved_in_snapshots_.for_each([&](std::uint32_t chunk, const PartialMap::Entry&) {
    if (chunks.test(chunk)) gone.push_back(chunk);
  });
  for (const std::uint32_t chunk : gone) reserved_in_snapshots_.erase(chunk);
  reserved_chunks_.fetch_sub(static_cast<std::uint32_t>(gone.size()));
}

}  // namespace fvd
