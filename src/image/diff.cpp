// In what two states of an image may differ, from metadata alone: a block is the same when both states read it from the
// same place, since no chunk that a snapshot reaches is ever written.
#include <algorithm>
#include <optional>
#include <shared_mutex>

#include "image/front_map.h"
#include "image/image_impl.h"
#include "image/snapshot_view.h"
#include "map/block_bits.h"

namespace fvd {

using format::kChunkMask;
using format::kEmpty;
using format::kOriginBase;
using format::kPartialFlag;
using format::kZero;

namespace {

// Joins ranges that touch.
class Ranges {
 public:
  explicit Ranges(const std::function<void(std::uint64_t, std::uint64_t)>& visit) : visit_(visit) {}
  void add(std::uint64_t from, std::uint64_t to) {
    if (from >= to) return;
    if (from != end_) flush();
    if (start_ == end_) start_ = from;
    end_ = to;
  }
  void flush() {
    if (start_ != end_) visit_(start_, end_ - start_);
    start_ = end_ = 0;
  }

 private:
  const std::function<void(std::uint64_t, std::uint64_t)>& visit_;
  std::uint64_t start_ = 0;
  std::uint64_t end_ = 0;
};

}  // namespace

// One of the two states. What lies past its end is zeros.
class ImageImpl::DiffSide {
 public:
  DiffSide(ImageImpl& image, SnapshotId id) : image_(image), id_(id), front_(image.front_) {}
  ~DiffSide() {
    if (pinned_) image_.directory_.remove_reader(id_);
  }
  DiffSide(const DiffSide&) = delete;
  DiffSide& operator=(const DiffSide&) = delete;

  Status open() {
    if (id_ == 0) {
      size_ = image_.virtual_size();
      return Status::ok();
    }
    const auto record = image_.directory_.add_reader(id_);
    if (!record) return {Code::kNotFound, "there is no such snapshot"};
    pinned_ = true;
    auto view = SnapshotView::open(image_.storage_, image_.geometry_, *record, image_.allocator_.chunks_in_file());
    if (!view) return view.status();
    view_ = std::move(*view);
    size_ = record->virtual_size;
    return Status::ok();
  }
  [[nodiscard]] std::uint64_t size() const { return size_; }

  // These REQUIRE the gate held shared.
  Status lookup(std::uint32_t v, Mapping* out) {
    out->entry = kZero;
    return v < chunks() ? map().lookup(v, out) : Status::ok();
  }
  std::uint32_t empty_run(std::uint32_t v, std::uint32_t limit, bool over_base) {
    if (v >= chunks()) return over_base ? 0 : limit;
    return map().empty_run(v, std::min(limit, chunks() - v));
  }

 private:
  [[nodiscard]] std::uint32_t chunks() const { return image_.geometry_.virtual_chunks(size_); }
  StateMap& map() { return view_ ? static_cast<StateMap&>(*view_) : front_; }

  ImageImpl& image_;
  const SnapshotId id_;
  FrontMap front_;
  std::unique_ptr<SnapshotView> view_;
  std::uint64_t size_ = 0;
  bool pinned_ = false;
};

Status ImageImpl::diff(SnapshotId a, SnapshotId b, const std::function<void(std::uint64_t, std::uint64_t)>& differs) {
  std::array<std::unique_ptr<DiffSide>, 2> sides{std::make_unique<DiffSide>(*this, a),
                                                 std::make_unique<DiffSide>(*this, b)};
  for (const auto& side : sides) {
    if (Status s = side->open(); !s) return s;
  }
  const std::uint64_t shorter = std::min(sides[0]->size(), sides[1]->size());
  const std::uint64_t longer = std::max(sides[0]->size(), sides[1]->size());
  const std::uint32_t chunks = geometry_.virtual_chunks(longer);
  const std::uint32_t blocks = geometry_.blocks_per_chunk();
  Ranges ranges(differs);
  std::array<Mapping, 2> mappings;
  for (std::uint32_t v = 0; v < chunks;) {
    const std::uint64_t start = std::uint64_t{v} << geometry_.chunk_log2;
    bool over_base = false;
    {
      const std::shared_lock gate(gate_);
      over_base = StateIo(storage_, geometry_, base_.get()).base_covers(v);
      const std::uint32_t run =
          std::min(sides[0]->empty_run(v, chunks - v, over_base), sides[1]->empty_run(v, chunks - v, over_base));
      if (run != 0) {
        v += run;
        continue;
      }
      for (std::size_t i = 0; i < sides.size(); ++i) {
        if (Status s = sides[i]->lookup(v, &mappings[i]); !s) return s;
      }
    }
    // Where a state reads a block from, and up to which block that goes on.
    const auto place = [&](const Mapping& mapping, std::uint32_t block, std::uint32_t* end) {
      std::uint32_t at = mapping.entry & kChunkMask;
      if ((mapping.entry & kPartialFlag) != 0) {
        const std::span<const std::uint64_t> words(mapping.words.data(), geometry_.bitmap_words());
        const bool present = block_present(words, block);
        *end = std::min(*end, run_end(words, block, blocks, present));
        if (!present) at = mapping.origin;
      }
      return at == kEmpty && !over_base ? kZero : at;
    };
    static_assert(kOriginBase == kEmpty);
    for (std::uint32_t block = 0; block < blocks;) {
      std::uint32_t end = blocks;
      const std::uint32_t one = place(mappings[0], block, &end);
      const std::uint32_t other = place(mappings[1], block, &end);
      const std::uint64_t from = start + (std::uint64_t{block} << geometry_.block_log2);
      const std::uint64_t to = std::min(longer, start + (std::uint64_t{end} << geometry_.block_log2));
      if (one != other) {
        ranges.add(from, to);
      } else if (one != kZero && shorter < to) {
        ranges.add(std::max(from, shorter), to);  // the same chunk, of which one disk shows only a part
      }
      block = end;
    }
    ++v;
  }
  ranges.flush();
  return Status::ok();
}

}  // namespace fvd
