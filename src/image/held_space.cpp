#include "image/held_space.h"

#include <algorithm>
#include <utility>

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
      if (&pool != &this->pool(Structure::kRefcounts)) {
        pool.live = lent;
      } else {
        give_back_behind(lent);
      }
    }
    pool.lent.clear();
    update(pool);
  }
}

// Bytes [from, to) of the run that begins at chunk `first`. What of them is in use already stays as it is.
Status HeldSpace::reserve(std::uint32_t first, std::uint64_t from, std::uint64_t to) {
  if (align_up(from, format::kPage) >= to) return Status::ok();
  const std::uint64_t start = align_up(from, format::kPage);
  Status s = storage_.file().reserve(geometry_.file_offset(first) + start, to - start);
  if (!s) punch(first, from, to);  // a part of it may have been had
  return s;
}

// What is reserved and was never written counts as a hole, which nobody would give back later.
void HeldSpace::punch(std::uint32_t first, std::uint64_t from, std::uint64_t to) {
  from = align_up(from, format::kPage);
  to = align_up(to, format::kPage);
  if (from < to) (void)storage_.give_back(geometry_.file_offset(first) + from, to - from);
}

Status HeldSpace::make_run(Structure what, std::uint64_t bytes, Run* run) {
  const std::uint32_t chunks = geometry_.object_chunks(bytes);
  // What is likely to be used would keep the end of the file from being cut off.
  auto place = what == Structure::kDirectory ? allocator_.allocate(chunks) : allocator_.allocate_at_end(chunks);
  if (!place) return place.status();
  if (Status s = reserve(place->first, 0, bytes); !s) {
    allocator_.release(place->first, chunks, false);
    return s;
  }
  *run = {place->first, chunks, bytes};
  return Status::ok();
}

void HeldSpace::give_back(const Run& run) {
  punch(run.first, 0, run.reserved);
  allocator_.release(run.first, run.chunks, false);
}

// The same for all of the run that the object does not need.
void HeldSpace::give_back_behind(const Lent& object) {
  punch(object.run.first, object.used, object.run.reserved);
  const std::uint32_t needed = geometry_.object_chunks(object.used);
  if (needed < object.run.chunks) {
    allocator_.release(object.run.first + needed, object.run.chunks - needed, false);
  }
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
      s = make_run(what, bytes, &fresh);
      if (s.is_ok()) held.runs.push_back(fresh);
      continue;
    }
    Run& run = held.runs[i];
    if (run.reserved >= bytes) continue;
    if (geometry_.object_chunks(bytes) <= run.chunks) {
      s = reserve(run.first, run.reserved, bytes);
      if (s.is_ok()) run.reserved = bytes;
      continue;
    }
    Run longer;
    s = make_run(what, bytes, &longer);
    if (!s) continue;
    give_back(run);
    run = longer;
  }
  update(held);
  while (s.is_ok() && held.runs.size() > runs) {
    give_back(held.runs.back());
    held.runs.pop_back();
  }
  return s;
}

Result<HeldSpace::Run> HeldSpace::lend(Structure what, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  Pool& held = pool(what);
  const auto it = std::find_if(held.runs.begin(), held.runs.end(), [&](const Run& r) { return r.reserved >= bytes; });
  if (it == held.runs.end()) return Status(Code::kNoSpace, "no space is held for it");
  const Run run = *it;
  held.runs.erase(it);
  held.lent.push_back({{run.first, run.chunks, run.reserved}, bytes});
  return run;
}

Status HeldSpace::reserve_behind(Structure what, std::uint32_t first, std::uint64_t length, std::uint64_t bytes,
                                 const std::function<bool()>& in_use) {
  const std::lock_guard lock(mutex_);
  if (in_use && !in_use()) return {Code::kNoSpace, "it was replaced meanwhile"};
  Pool& held = pool(what);
  Lent object{{first, geometry_.object_chunks(length), length}, length};
  if (held.live.run.first == first) object = held.live;
  if (object.run.reserved >= bytes) return Status::ok();
  if (geometry_.object_chunks(bytes) > object.run.chunks) return {Code::kNoSpace, "its chunks are too few"};
  if (Status s = reserve(first, object.run.reserved, bytes); !s) return s;
  object.run.reserved = bytes;
  held.live = object;
  return Status::ok();
}

bool HeldSpace::take_back(Structure what, const Run& object) {
  const std::lock_guard lock(mutex_);
  Pool& held = pool(what);
  const auto lent =
      std::find_if(held.lent.begin(), held.lent.end(), [&](const Lent& one) { return one.run.first == object.first; });
  if (lent != held.lent.end()) {
    held.runs.push_back(lent->run);
    held.lent.erase(lent);
    return true;
  }
  Lent whole{object, object.reserved};
  if (held.live.run.first == object.first) {
    whole = std::exchange(held.live, {});
    whole.run.directory = object.directory;
  }
  if (held.runs.size() >= held.wanted) {
    give_back_behind(whole);
    return false;
  }
  held.runs.push_back(whole.run);
  return true;
}

std::uint32_t HeldSpace::chunks() const {
  const std::lock_guard lock(mutex_);
  std::uint32_t sum = 0;
  for (const Pool& held : pools_) {
    for (const Run& run : held.runs) sum += run.chunks;
    if (held.live.run.first != 0) sum += held.live.run.chunks - geometry_.object_chunks(held.live.used);
  }
  return sum;
}

bool HeldSpace::release() {
  const std::lock_guard lock(mutex_);
  bool any = false;
  for (Pool& held : pools_) {
    if (held.live.run.first != 0) give_back_behind(std::exchange(held.live, {}));
    for (const Run& run : held.runs) give_back(run);
    any = any || !held.runs.empty();
    held.runs.clear();
    held.wanted = 0;
    update(held);
  }
  return any;
}

}  // namespace fvd
