// Flattening: the base image is copied in and cut loose.
//
// Each virtual chunk that some state shows of the base gets one complete chunk with the base's content, its *copy*.
// Then every table is written anew, with the copies where the base showed through (entry EMPTY, or origin BASE), and
// one superblock switch makes all of them count. Nothing that the old superblock refers to is touched before.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <shared_mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "image/transaction.h"

namespace fvd {

using format::kChunkMask;
using format::kEmpty;
using format::kOriginBase;
using format::kPartialFlag;
using format::kSharedFlag;
using format::SnapshotRecord;
using format::Superblock;

namespace {

constexpr std::size_t kPiece = 1 << 20;
constexpr std::size_t kGrain = 4096;  // zeros are left out in these steps

bool is_zero(std::span<const std::byte> bytes) {
  return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace

// Which virtual chunks show the base somewhere, and their copies (0: the base has zeros there).
class ImageImpl::BaseCopies {
 public:
  explicit BaseCopies(std::uint32_t covered) : chunks_(covered), needed_(covered) {}

  Bits& needed() { return needed_; }
  std::vector<std::uint32_t>& chunks() { return chunks_; }
  [[nodiscard]] std::uint32_t of(std::uint32_t v) const { return v < chunks_.size() ? chunks_[v] : 0; }
  [[nodiscard]] Bits all() const {
    Bits bits;
    for (const std::uint32_t chunk : chunks_) {
      if (chunk != 0) bits.set(chunk);
    }
    return bits;
  }

  // Notes where `state` shows the base. False where it names one partial chunk over two places of the base, which one
  // origin cannot replace.
  bool note(Front& state) {
    const auto covered = std::min(static_cast<std::uint32_t>(chunks_.size()), state.table.size());
    for (std::uint32_t v = 0; v < covered; ++v) {
      if (state.table.load(v) == kEmpty) needed_.set(v);
    }
    bool sound = true;
    for (Front::Stripe& s : state.stripes) {
      const std::lock_guard lock(s.mutex);
      s.partials.for_each([&](std::uint32_t v, const PartialMap::Entry& partial) {
        if (*partial.origin != kOriginBase || v >= covered) return;
        needed_.set(v);
        const auto [known, fresh] = place_of_.emplace(state.table.load(v) & kChunkMask, v);
        sound = sound && (fresh || known->second == v);
      });
    }
    return sound;
  }

  // Puts the copies where `state` shows the base; visit(chunk) for each. New entries have `flag`.
  template <typename Visit>
  void put_in(Front& state, std::uint32_t flag, Visit&& visit) const {
    replace(
        state, [this](std::uint32_t v, std::uint32_t at) { return at == kEmpty ? of(v) : at; }, flag, visit);
  }
  // Undoes put_in() with `flag`.
  void take_out(Front& state) const {
    replace(
        state, [this](std::uint32_t v, std::uint32_t at) { return at != kEmpty && at == of(v) ? kEmpty : at; }, 0,
        [](std::uint32_t) {});
  }

 private:
  template <typename Map, typename Visit>
  void replace(Front& state, Map&& map, std::uint32_t flag, Visit&& visit) const {
    static_assert(kOriginBase == kEmpty);
    const auto covered = std::min(static_cast<std::uint32_t>(chunks_.size()), state.table.size());
    for (std::uint32_t v = 0; v < covered; ++v) {
      const std::lock_guard lock(state.stripe(v).mutex);
      const std::uint32_t entry = state.table.load(v);
      if ((entry & kPartialFlag) != 0) continue;
      const std::uint32_t chunk = map(v, entry & kChunkMask);
      if (chunk == (entry & kChunkMask)) continue;
      state.table.store(v, chunk == kEmpty ? kEmpty : chunk | flag);
      chunk == kEmpty ? state.mapped.fetch_sub(1) : state.mapped.fetch_add(1);
      visit(chunk);
    }
    for (Front::Stripe& s : state.stripes) {
      const std::lock_guard lock(s.mutex);
      s.partials.for_each([&](std::uint32_t v, const PartialMap::Entry& partial) {
        const std::uint32_t origin = map(v, *partial.origin);
        if (origin == *partial.origin) return;
        *partial.origin = origin;
        partial.set_origin_owned(false);
        visit(origin);
      });
    }
  }

  std::vector<std::uint32_t> chunks_;
  Bits needed_;
  std::unordered_map<std::uint32_t, std::uint32_t> place_of_;  // partial chunk over the base -> its virtual chunk
};

Result<std::unique_ptr<Front>> ImageImpl::load_state(const SnapshotRecord& record) {
  auto state = std::make_unique<Front>(geometry_);
  if (Status s = state->table.resize(geometry_.virtual_chunks(record.virtual_size)); !s) return s;
  if (Status s = load_table(record.table, *state, "the table of snapshot " + record.name); !s) return s;
  return state;
}

Status ImageImpl::find_uses_of_base(BaseCopies& copies) {
  bool sound = copies.note(front_);
  for (const SnapshotRecord& record : *directory_.records()) {
    auto state = load_state(record);
    if (!state) return state.status();
    sound = copies.note(**state) && sound;
  }
  if (sound) return Status::ok();
  return {Code::kUnsupported, "a chunk lies over two places of the base image; copy the states out instead"};
}

Status ImageImpl::copy_base(BaseCopies& copies, const WorkProgress& progress) {
  std::uint64_t total = 0;
  copies.needed().for_each([&](std::uint32_t) { total += geometry_.chunk_size(); });
  std::uint64_t done = 0;
  std::vector<std::byte> buffer(std::min<std::uint64_t>(kPiece, geometry_.chunk_size()));
  Status failed;
  const auto copy_chunk = [&](std::uint32_t v) -> Status {
    const std::uint64_t start = std::uint64_t{v} << geometry_.chunk_log2;
    const std::uint64_t end = start + geometry_.chunk_size();
    std::uint32_t& chunk = copies.chunks()[v];
    for (std::uint64_t at = start; at < end; at += buffer.size()) {
      const auto data = base_->seek_data(at, end);
      if (!data) return data.status();
      if (*data == end) break;
      if (Status s = base_->read(at, buffer); !s) return s;
      for (std::size_t from = 0; from < buffer.size(); from += kGrain) {
        const std::span<const std::byte> grain = std::span(buffer).subspan(from, kGrain);
        if (is_zero(grain)) continue;
        if (chunk == 0) {
          auto allocated = allocate_data(true);
          if (!allocated) return allocated.status();
          chunk = *allocated;
        }
        std::size_t to = from + kGrain;
        while (to < buffer.size() && !is_zero(std::span(buffer).subspan(to, kGrain))) to += kGrain;
        const std::uint64_t place = geometry_.file_offset(chunk) + (at - start) + from;
        if (Status s = storage_.write(Structure::kData, place, std::span(buffer).subspan(from, to - from)); !s)
          return s;
        from = to - kGrain;
      }
    }
    copied_bytes_.fetch_add(geometry_.chunk_size(), std::memory_order_relaxed);
    return Status::ok();
  };
  copies.needed().for_each([&](std::uint32_t v) {
    if (!failed.is_ok()) return;
    if (progress && !progress(done, total)) {
      failed = {Code::kBusy, "asked to end"};
      return;
    }
    failed = copy_chunk(v);
    done += geometry_.chunk_size();
  });
  return failed;
}

// Writes every table anew and switches to them. On failure everything is as before.
Status ImageImpl::switch_off_base(const BaseCopies& copies, Writers writers) {
  Status s = storage_.sync();  // of the copies
  if (!s) {
    set_failed(s);
    return s;
  }
  auto counts = Refcounts::load(storage_, geometry_, superblock_.refcounts, allocator_.chunks_in_file());
  if (!counts) return counts.status();
  const auto old_records = directory_.records();
  SnapshotDirectory::Records records;
  // No commit from here on: on the disk a chunk must have the same origin in current-state as in the snapshots.
  const std::lock_guard leadership(commits_);
  TableCapture capture(geometry_);
  std::unique_lock gate(gate_);
  copies.put_in(front_, kSharedFlag, [](std::uint32_t) {});
  capture.prepare(front_);  // what was just put in is no change that is collected
  capture.take(front_, false);
  if (writers == Writers::kGoOn) gate.unlock();
  capture.finish(superblock_.virtual_size);
  std::optional<Transaction> transaction(std::in_place, *this, Transaction::Epoch::kNew);
  s = [&]() -> Status {
    auto table = transaction->write_table(capture);
    if (!table) return table.status();
    for (SnapshotRecord record : *old_records) {
      auto state = load_state(record);
      if (!state) return state.status();
      bool changed = false;
      bool counted = true;
      copies.put_in(**state, 0, [&](std::uint32_t chunk) {
        changed = true;
        counted = counts->increment(chunk) && counted;
      });
      if (!counted) return {Code::kCorrupt, "a reference count is at its end; run fvd check"};
      if (changed) {
        TableCapture fresh(geometry_);
        fresh.prepare(**state);
        fresh.take(**state, false);
        fresh.finish(record.virtual_size);
        auto object = transaction->write_table(fresh);
        if (!object) return object.status();
        transaction->drop(record.table);
        record.table = *object;
        record.mapped_bytes = std::uint64_t{fresh.mapped()} << geometry_.chunk_log2;
      }
      records.push_back(record);
    }
    if (Status written = transaction->write_refcounts(*counts); !written) return written;
    if (Status written = transaction->write_directory(std::move(records)); !written) return written;
    Superblock& next = transaction->next();
    next.table = *table;
    next.incompat &= ~format::kIncompatBaseImage;
    next.base_path.clear();
    next.base_format.clear();
    next.base_size = 0;
    return transaction->commit(Transaction::Leads::kAlready);
  }();
  transaction.reset();
  front_.changes.end_capture();
  if (!gate.owns_lock()) gate.lock();
  if (s.is_ok()) {
    flattened_base_ = std::move(base_);
  } else if (!failed_.load(std::memory_order_acquire)) {
    copies.take_out(front_);
  }
  gate.unlock();
  if (!s) return s;
  // Copies that no snapshot reaches are current-state's own, or free where it has overwritten them meanwhile.
  Bits own;
  copies.all().for_each([&](std::uint32_t chunk) {
    if (counts->get(chunk) == 0) own.set(chunk);
  });
  settle(std::move(own));
  return s;
}

Status ImageImpl::flatten(const WorkProgress& progress) try {
  const std::lock_guard operation(operation_);
  if (Status s = check_writable(); !s) return s;
  if (base_ == nullptr) return Status::ok();
  if (!directory_.begin_replace()) return {Code::kBusy, "a snapshot is open; close its disk.raw first"};
  const auto let_readers_in = [](SnapshotDirectory* directory) { directory->end_replace(); };
  const std::unique_ptr<SnapshotDirectory, decltype(let_readers_in)> readers_out(&directory_, let_readers_in);
  if (Status s = make_room(); !s) return s;
  std::uint32_t covered = front_.table.size();
  for (const SnapshotRecord& record : *directory_.records()) {
    covered = std::max(covered, geometry_.virtual_chunks(record.virtual_size));
  }
  BaseCopies copies(std::min(covered, geometry_.virtual_chunks(base_->size())));
  Status s = find_uses_of_base(copies);
  if (s.is_ok()) s = copy_base(copies, progress);
  if (s.is_ok()) s = despite_writers([&](Writers writers) { return switch_off_base(copies, writers); });
  if (!s && !failed_.load(std::memory_order_acquire)) {
    // Nothing durable names the copies, and nothing in memory any more.
    copies.all().for_each([&](std::uint32_t chunk) { allocator_.release(chunk, 1, false); });
    reclaimer_.look_again();
  }
  after_operation();
  return s;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace fvd
