#include "image/diff.h"

#include <algorithm>
#include <memory>
#include <utility>

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

Result<SnapshotDiff::Run> MapDiff::run(std::uint64_t offset) {
  const std::uint64_t common = std::min(sides_[0].virtual_size, sides_[1].virtual_size);
  const std::uint64_t size = std::max(sides_[0].virtual_size, sides_[1].virtual_size);
  if (offset >= size) return Status(Code::kInvalid, "no difference past the end of both disks");
  if (offset >= common) return SnapshotDiff::Run{offset, size - offset, true};
  const auto v = static_cast<std::uint32_t>(offset >> geometry_.chunk_log2);
  const std::uint64_t within = offset & (geometry_.chunk_size() - 1);
  std::array<Mapping, 2> mappings;
  for (std::size_t i = 0; i < 2; ++i) {
    if (Status s = sides_[i].map.lookup(v, &mappings[i]); !s) return s;
  }
  if (mappings[0].entry == kEmpty && mappings[1].entry == kEmpty) {
    // The common case of a sparse disk: one answer for a long hole.
    std::uint32_t chunks = geometry_.virtual_chunks(common) - v;
    for (const Side& side : sides_) chunks = std::min(chunks, side.map.empty_run(v, chunks));
    const std::uint64_t end = std::min(common, std::uint64_t{v + std::max(chunks, 1U)} << geometry_.chunk_log2);
    return SnapshotDiff::Run{offset, end - offset, false};
  }
  bool differs = false;
  const std::uint64_t end = compare(v, mappings[0], mappings[1], within, &differs);
  return SnapshotDiff::Run{offset, std::min(end - within, common - offset), differs};
}

namespace {

// A snapshot's mapping, and what keeps the snapshot from deletion.
struct PinnedView {
  std::shared_ptr<StateReader> pin;
  std::unique_ptr<SnapshotView> view;
  [[nodiscard]] MapDiff::Side side() const { return {*view, pin->virtual_size()}; }
};

class DiffOfSnapshots final : public SnapshotDiff {
 public:
  DiffOfSnapshots(const StateIo& io, const format::Geometry& geometry, PinnedView a, PinnedView b)
      : a_(std::move(a)), b_(std::move(b)), diff_(io, geometry, a_.side(), b_.side()) {}

  [[nodiscard]] std::uint64_t size() const override { return std::max(a_.side().virtual_size, b_.side().virtual_size); }
  Result<Run> run(std::uint64_t offset) override { return diff_.run(offset); }

 private:
  const PinnedView a_;
  const PinnedView b_;
  MapDiff diff_;
};

}  // namespace

Result<std::unique_ptr<SnapshotDiff>> ImageImpl::diff_snapshots(SnapshotId a, SnapshotId b) {
  const auto open = [this](SnapshotId id) -> Result<PinnedView> {
    auto pin = open_snapshot(id);
    if (!pin) return pin.status();
    const auto records = directory_.records();
    auto view =
        SnapshotView::open(storage_, geometry_, *SnapshotDirectory::find(*records, id), allocator_.chunks_in_file());
    if (!view) return view.status();
    return PinnedView{std::move(*pin), std::move(*view)};
  };
  auto first = open(a);
  if (!first) return first.status();
  auto second = open(b);
  if (!second) return second.status();
  return std::unique_ptr<SnapshotDiff>(std::make_unique<DiffOfSnapshots>(
      StateIo(storage_, geometry_, base_.get()), geometry_, std::move(*first), std::move(*second)));
}

}  // namespace fvd
