#include "image/diff.h"

#include <algorithm>
#include <memory>
#include <shared_mutex>
#include <utility>

#include "image/front_map.h"
#include "image/image_impl.h"
#include "image/snapshot_view.h"
#include "map/block_bits.h"

namespace fvd {

using format::kChunkMask;
using format::kEmpty;
using format::kPartialFlag;
using format::kZero;

std::uint32_t MapDiff::place(std::uint32_t v, const Mapping& mapping, bool present) const {
  const std::uint32_t at = present ? mapping.entry & kChunkMask : mapping.origin;
  return at == kEmpty && !io_.base_covers(v) ? kZero : at;
}

std::uint64_t MapDiff::compare(std::uint32_t v, const Mapping& a, const Mapping& b, std::uint64_t offset,
                               bool* differs) const {
  const std::uint32_t blocks = geometry_.blocks_per_chunk();
  const bool a_partial = (a.entry & kPartialFlag) != 0;
  const bool b_partial = (b.entry & kPartialFlag) != 0;
  const std::span<const std::uint64_t> a_words(a.words.data(), geometry_.bitmap_words());
  const std::span<const std::uint64_t> b_words(b.words.data(), geometry_.bitmap_words());
  auto block = static_cast<std::uint32_t>(offset >> geometry_.block_log2);
  for (bool first = true; block < blocks; first = false) {
    const bool a_present = !a_partial || block_present(a_words, block);
    const bool b_present = !b_partial || block_present(b_words, block);
    const bool here = place(v, a, a_present) != place(v, b, b_present);
    if (first) *differs = here;
    if (here != *differs) break;
    std::uint32_t next = blocks;
    if (a_partial) next = std::min(next, run_end(a_words, block, blocks, a_present));
    if (b_partial) next = std::min(next, run_end(b_words, block, blocks, b_present));
    block = next;
  }
  return std::uint64_t{block} << geometry_.block_log2;
}

Status MapDiff::lookup(const Side& side, std::uint32_t v, Mapping* out) const {
  out->entry = kZero;
  return v < geometry_.virtual_chunks(side.virtual_size) ? side.map.lookup(v, out) : Status::ok();
}

std::uint32_t MapDiff::equal_run(std::uint32_t v, std::uint32_t limit) const {
  for (const Side& side : sides_) {
    const std::uint32_t chunks = geometry_.virtual_chunks(side.virtual_size);
    if (v < chunks) {
      limit = std::min(limit, side.map.empty_run(v, std::min(limit, chunks - v)));
    } else if (io_.base_covers(v)) {
      return 0;  // the base image on one side, zeros on the other
    }
  }
  return limit;
}

Result<StateDiff::Run> MapDiff::run(std::uint64_t offset) {
  const std::uint64_t common = std::min(sides_[0].virtual_size, sides_[1].virtual_size);
  const std::uint64_t size = std::max(sides_[0].virtual_size, sides_[1].virtual_size);
  if (offset >= size) return Status(Code::kInvalid, "no difference past the end of both disks");
  const std::uint64_t limit = offset < common ? common : size;
  const auto v = static_cast<std::uint32_t>(offset >> geometry_.chunk_log2);
  const std::uint64_t start = std::uint64_t{v} << geometry_.chunk_log2;
  // The common case of a sparse disk: one answer for a long hole.
  if (const std::uint32_t chunks = equal_run(v, geometry_.virtual_chunks(limit) - v); chunks != 0) {
    const std::uint64_t end = std::min(limit, std::uint64_t{v + chunks} << geometry_.chunk_log2);
    if (offset < common || start >= common || !io_.base_covers(v)) return StateDiff::Run{offset, end - offset, false};
  }
  std::array<Mapping, 2> mappings;
  for (std::size_t i = 0; i < 2; ++i) {
    if (Status s = lookup(sides_[i], v, &mappings[i]); !s) return s;
    // Within the chunk in which the smaller disk ends, all that follows is zeros there.
    if (offset >= sides_[i].virtual_size) mappings[i].entry = kZero;
  }
  bool differs = false;
  const std::uint64_t end = start + compare(v, mappings[0], mappings[1], offset - start, &differs);
  return StateDiff::Run{offset, std::min(end, limit) - offset, differs};
}

namespace {

// A state's mapping, and what keeps a snapshot from deletion.
struct PinnedMap {
  std::shared_ptr<StateReader> pin;  // none for current-state
  std::unique_ptr<StateMap> map;
  std::uint64_t virtual_size = 0;
};

class DiffOfStates final : public StateDiff {
 public:
  DiffOfStates(const StateIo& io, const format::Geometry& geometry, FreezeGate& gate, PinnedMap a, PinnedMap b)
      : gate_(gate),
        a_(std::move(a)),
        b_(std::move(b)),
        diff_(io, geometry, {*a_.map, a_.virtual_size}, {*b_.map, b_.virtual_size}) {}

  [[nodiscard]] std::uint64_t size() const override { return std::max(a_.virtual_size, b_.virtual_size); }
  Result<Run> run(std::uint64_t offset) override {
    const std::shared_lock gate(gate_);
    return diff_.run(offset);
  }

 private:
  FreezeGate& gate_;
  const PinnedMap a_;
  const PinnedMap b_;
  MapDiff diff_;
};

}  // namespace

Result<std::unique_ptr<StateDiff>> ImageImpl::open_diff(SnapshotId a, SnapshotId b) {
  const auto open = [this](SnapshotId id) -> Result<PinnedMap> {
    if (id == 0) return PinnedMap{nullptr, std::make_unique<FrontMap>(front_), virtual_size()};
    auto pin = open_snapshot(id);
    if (!pin) return pin.status();
    auto view = SnapshotView::open(storage_, geometry_, *directory_.records()->find(id), allocator_.chunks_in_file());
    if (!view) return view.status();
    const std::uint64_t size = (*pin)->virtual_size();
    return PinnedMap{std::move(*pin), std::move(*view), size};
  };
  auto first = open(a);
  if (!first) return first.status();
  auto second = open(b);
  if (!second) return second.status();
  return std::unique_ptr<StateDiff>(std::make_unique<DiffOfStates>(StateIo(storage_, geometry_, base_.get()), geometry_,
                                                                   gate_, std::move(*first), std::move(*second)));
}

Status Image::diff(SnapshotId a, SnapshotId b, const std::function<void(std::uint64_t, std::uint64_t)>& differs) {
  const auto opened = open_diff(a, b);
  if (!opened) return opened.status();
  StateDiff& states = **opened;
  std::uint64_t start = 0;  // of a range that may go on
  std::uint64_t end = 0;
  for (std::uint64_t at = 0; at < states.size();) {
    const auto run = states.run(at);
    if (!run) return run.status();
    at += run->length;
    if (run->differs) {
      if (start == end) start = run->offset;
      end = at;
    } else if (start != end) {
      differs(start, end - start);
      start = end = 0;
    }
  }
  if (start != end) differs(start, end - start);
  return Status::ok();
}

}  // namespace fvd
