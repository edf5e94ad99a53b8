#include "image/held_space.h"

#include <algorithm>

#include "base/checked.h"

namespace fvd {

void HeldSpace::update(Pool& pool) {
  std::sort(pool.runs.begin(), pool.runs.end(), [](const Run& a, const Run& b) { return a.reserved > b.reserved; });
  const bool enough = pool.wanted != 0 && pool.runs.size() >= pool.wanted;
  pool.capacity.store(enough ? pool.runs[pool.wanted - 1].reserved : 0, std::memory_order_release);
}

void HeldSpace::update() {
  const std::lock_guard lock(mutex_);
  for (Pool& pool : pools_) {
    for (const Lent& lent : pool.lent) {
      const std::uint64_t end = align_up(lent.used, format::kPage);
      if (&pool == &this->pool(Structure::kTable)) {
        pool.live = lent.run.first;
        pool.live_reserved =
            std::min(lent.run.reserved, std::uint64_t{geometry_.object_chunks(lent.used)} << geometry_.chunk_log2);
      } else if (end < lent.run.reserved) {
        (void)storage_.zero(geometry_.file_offset(lent.run.first) + end, lent.run.reserved - end);
      }
      const std::uint32_t used = geometry_.object_chunks(lent.used);
      if (used < lent.run.chunks) allocator_.release(lent.run.first + used, lent.run.chunks - used, false);
    }
    pool.lent.clear();
    update(pool);
  }
}

Status HeldSpace::make_run(std::uint64_t bytes, Run* run) {
  const std::uint32_t chunks = geometry_.object_chunks(bytes);
  auto place = allocator_.allocate_at_end(chunks);
  if (!place) return place.status();
  if (Status s = storage_.file().reserve(geometry_.file_offset(place->first), bytes); !s) {
    allocator_.release(place->first, chunks, false);
    return s;
  }
  *run = {place->first, chunks, bytes};
  return Status::ok();
}

// What is reserved and was never written counts as a hole, which nobody would give back later.
void HeldSpace::give_back(const Run& run) {
  (void)storage_.zero(geometry_.file_offset(run.first), run.reserved);
  allocator_.release(run.first, run.chunks, false);
}

Status HeldSpace::hold(Structure what, std::uint64_t bytes, std::uint32_t runs) {
  const std::lock_guard lock(mutex_);
  Pool& held = pool(what);
  held.wanted = runs;
  update(held);
  Status s;
  for (std::uint32_t i = 0; i < runs && s.is_ok(); ++i) {
    if (i == held.runs.size()) {
      Run fresh;
      s = make_run(bytes, &fresh);
      if (s.is_ok()) held.runs.push_back(fresh);
      continue;
    }
    Run& run = held.runs[i];
    if (run.reserved >= bytes) continue;
    if (geometry_.object_chunks(bytes) <= run.chunks) {
      s = storage_.file().reserve(geometry_.file_offset(run.first), bytes);
      if (s.is_ok()) run.reserved = bytes;
      continue;
    }
    Run longer;
    s = make_run(bytes, &longer);
    if (!s) continue;
    give_back(run);
    run = longer;
  }
  update(held);
  return s;
}

Result<HeldSpace::Run> HeldSpace::lend(Structure what, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  Pool& held = pool(what);
  const auto it = std::find_if(held.runs.begin(), held.runs.end(), [&](const Run& r) { return r.reserved >= bytes; });
  if (it == held.runs.end()) return Status(Code::kNoSpace, "no space is held for it");
  const Run run = *it;
  held.runs.erase(it);
  held.lent.push_back({run, bytes});
  return run;
}

Status HeldSpace::reserve_behind(Structure what, std::uint32_t first, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  Pool& held = pool(what);
  if (held.live == first && held.live_reserved >= bytes) return Status::ok();
  if (Status s = storage_.file().reserve(geometry_.file_offset(first), bytes); !s) return s;
  held.live = first;
  held.live_reserved = bytes;
  return Status::ok();
}

bool HeldSpace::take_back(Structure what, const Run& object) {
  const std::lock_guard lock(mutex_);
  Pool& held = pool(what);
  Run run = object;
  if (held.live == run.first) {
    run.reserved = std::max(run.reserved, held.live_reserved);
    held.live = 0;
  }
  const auto lent =
      std::find_if(held.lent.begin(), held.lent.end(), [&](const Lent& one) { return one.run.first == run.first; });
  if (lent != held.lent.end()) {
    held.runs.push_back(lent->run);
    held.lent.erase(lent);
    return true;
  }
  if (held.runs.size() >= held.wanted) {
    if (run.reserved > object.reserved) {
      const std::uint64_t end = align_up(object.reserved, format::kPage);
      (void)storage_.zero(geometry_.file_offset(run.first) + end, run.reserved - std::min(end, run.reserved));
    }
    return false;
  }
  held.runs.push_back(run);
  return true;
}

std::uint32_t HeldSpace::chunks() const {
  const std::lock_guard lock(mutex_);
  std::uint32_t sum = 0;
  for (const Pool& held : pools_) {
    for (const Run& run : held.runs) sum += run.chunks;
  }
  return sum;
}

bool HeldSpace::release() {
  const std::lock_guard lock(mutex_);
  bool any = false;
  for (Pool& held : pools_) {
    for (const Run& run : held.runs) give_back(run);
    any = any || !held.runs.empty();
    held.runs.clear();
    held.wanted = 0;
    update(held);
  }
  return any;
}

}  // namespace fvd
