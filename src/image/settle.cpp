// Settling: what becomes of chunks that no snapshot reaches any more.
//
// While a snapshot reached them, the front (if it named them) had them marked shared. Now each is either named by
// exactly one place of the front and becomes its own, or by several and stays shared (a later settling looks again), or
// by none and is free. Requests go on meanwhile: they can only take names of such chunks away, or turn an entry into
// the origin of the same virtual chunk; sharing anew waits for the operation to end.
#include <mutex>

#include "image/image_impl.h"

namespace fvd {

using format::kChunkMask;
using format::kSharedFlag;

void ImageImpl::settle(Bits candidates) {
  if (failed_.load(std::memory_order_acquire)) return;  // which snapshots exist is for the next open to find out
  for (const std::uint32_t chunk : unsettled_) candidates.set(chunk);
  unsettled_.clear();
  if (candidates.empty()) return;

  Bits named;
  Bits twice;
  front_.table.for_each_entry([&](std::uint32_t, std::uint32_t entry) {
    if (!names_chunk(entry) || !candidates.test(entry & kChunkMask)) return;
    if (named.set(entry & kChunkMask)) twice.set(entry & kChunkMask);
  });
  for (Front::Stripe& s : front_.stripes) {
    const std::lock_guard stripe(s.mutex);
    s.partials.for_each([&](std::uint32_t, const PartialMap::Entry& partial) {
      const std::uint32_t origin = *partial.origin;
      if (names_chunk(origin) && candidates.test(origin) && named.set(origin)) twice.set(origin);
    });
  }

  Bits settled;
  const auto is_single = [&](std::uint32_t chunk) { return candidates.test(chunk) && !twice.test(chunk); };
  front_.table.for_each_entry([&](std::uint32_t v, std::uint32_t seen) {
    if (!names_chunk(seen) || !is_single(seen & kChunkMask)) return;
    const std::lock_guard stripe(front_.stripe(v).mutex);
    const std::uint32_t entry = front_.table.load(v);
    if (entry != seen) return;  // overwritten meanwhile: it may be an origin now, see below
    front_.table.store(v, entry & ~kSharedFlag);
    settled.set(entry & kChunkMask);
  });
  for (Front::Stripe& s : front_.stripes) {
    const std::lock_guard stripe(s.mutex);
    s.partials.for_each([&](std::uint32_t, const PartialMap::Entry& partial) {
      const std::uint32_t origin = *partial.origin;
      if (!names_chunk(origin) || !is_single(origin)) return;
      partial.set_origin_owned(true);
      settled.set(origin);
    });
  }

  std::vector<std::uint32_t> freed;
  candidates.for_each([&](std::uint32_t chunk) {
    if (twice.test(chunk)) {
      unsettled_.push_back(chunk);
    } else if (!settled.test(chunk)) {
      freed.push_back(chunk);
    }
  });
  // What the front has overwritten since its last commit is still named by the mapping on the disk: it waits for the
  // next commit like any chunk that the front gave up. Requests that have published such a change mark it before
  // they leave the gate.
  gate_.drain();
  for (const std::uint32_t chunk : freed) quarantine_.add(chunk);
}

}  // namespace fvd
