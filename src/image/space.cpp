// Space for what must not fail: the journal, the superblocks, and the objects that a checkpoint or a deletion writes.
//
// A full disk may refuse a guest's write, but never a commit of what was acknowledged, nor the deletion of a snapshot.
// So space is had before a mapping changes: the journal's and the superblocks' once, that of a base table as the table
// grows (HeldSpace). Of runs for a base table one is held where the table that it replaces can be held in its stead
// afterwards, and two where it cannot, since a snapshot keeps it or its chunks are too few.
#include <algorithm>
#include <mutex>

#include "base/checked.h"
#include "format/refcount.h"
#include "image/image_impl.h"

namespace fvd {

using format::kPage;
using format::ObjectRef;
using format::TableHeader;

namespace {

// By how much a table may outgrow a check while requests that passed it are under way: a group and a partial record
// each.
constexpr std::uint64_t kTableMargin = 128 << 10;
// What is held beyond the need, so that not every change has to hold more.
constexpr std::uint64_t kLeastSlack = 64 << 10;
constexpr std::uint64_t kLeastCountsSlack = 8 << 10;
constexpr std::uint64_t kLongestRecord = format::SnapshotRecord::kFixedSize + kMaxNameBytes + kMaxDescriptionBytes + 7;

std::uint64_t table_length(const format::Geometry& geometry, std::uint32_t groups, std::uint64_t partials) {
  TableHeader header;
  header.stored_groups = groups;
  header.bitmap_bytes = geometry.bitmap_bytes();
  return header.partials_offset() + partials * header.partial_size();
}

}  // namespace

std::uint64_t ImageImpl::table_bound() const {
  return table_length(geometry_, front_.table.written_groups(), partial_chunks_.load(std::memory_order_relaxed));
}

std::uint64_t ImageImpl::longest_table() const {
  const std::uint32_t entries = front_.table.size();
  return table_length(geometry_, static_cast<std::uint32_t>(div_ceil(entries, format::kEntriesPerGroup)), entries);
}

std::uint64_t ImageImpl::counts_bound() const {
  return format::RefcountHeader{allocator_.chunks_in_file() + 1}.length();
}

Status ImageImpl::begin_change() {
  if (Status s = check_writable(); !s) return s;
  if (!space_stale_.load(std::memory_order_acquire) &&
      held_.capacity(Structure::kTable) >= std::min(longest_table(), table_bound() + kTableMargin) &&
      (!deletion_is_held_.load(std::memory_order_relaxed) || held_.capacity(Structure::kRefcounts) >= counts_bound())) {
    return Status::ok();
  }
  return hold_more_space();
}

Status ImageImpl::begin_shorter_change() {
  Status s = begin_change();
  if (s.code() != Code::kNoSpace || !changed_.load(std::memory_order_acquire)) return s;
  // The margin is for those who make it longer.
  return held_.capacity(Structure::kTable) >= table_bound() ? Status::ok() : s;
}

Status ImageImpl::hold_more_space() {
  const std::lock_guard lock(holding_);
  if (!journal_reserved_.load(std::memory_order_acquire)) {
    File& file = storage_.file();
    const auto [first, last] = std::minmax(header_.superblock_offset[0], header_.superblock_offset[1]);
    const std::uint64_t start = header_.journal_offset;
    const std::uint64_t half = journal_.reserved_size();
    // The slots with the first half where they lie side by side, as in every image of ours.
    const bool together = first < start && start - first <= (64 << 10);
    const std::uint64_t from = together ? first : start;
    Status s = file.reserve(from, start + half - from);
    if (s.is_ok()) s = file.reserve(start + header_.journal_half_size, half);
    for (const std::uint64_t slot : {first, last}) {
      if (s.is_ok() && !together) s = file.reserve(slot, kPage);
    }
    if (!s) return s;
    journal_reserved_.store(true, std::memory_order_release);
  }
  const auto records = directory_.records();
  deletion_is_held_.store(!records->empty(), std::memory_order_relaxed);
  space_stale_.store(false, std::memory_order_release);
  ObjectRef table;
  ObjectRef directory;
  {
    const std::lock_guard superblock(superblock_mutex_);
    table = superblock_.table;
    directory = superblock_.directory;
  }
  const bool kept = table.is_none() || records->name_table(table.first_chunk);
  // First with slack, then, on a disk that is nearly full, without.
  const auto hold = [&](Structure what, std::uint64_t most, std::uint64_t least, auto&& runs) {
    Status s = held_.hold(what, most, runs(most));
    return s.code() == Code::kNoSpace ? held_.hold(what, least, runs(least)) : s;
  };
  const std::uint64_t bound = table_bound();
  const std::uint64_t least = std::min(longest_table(), bound + kTableMargin);
  const std::uint64_t most = std::min(longest_table(), least + std::max(kLeastSlack, bound / 4));
  // A switch may go on, and its chunks may be others' by now.
  const auto in_use = [&] {
    const std::lock_guard superblock(superblock_mutex_);
    return superblock_.table == table;
  };
  Status s = hold(Structure::kTable, most, least, [&](std::uint64_t bytes) {
    return !kept && held_.reserve_behind(Structure::kTable, table.first_chunk, table.length, bytes, in_use) ? 1 : 2;
  });
  const auto one = [](std::uint64_t) { return 1; };
  if (s.is_ok() && !records->empty()) {
    const std::uint64_t counts = counts_bound();
    s = hold(Structure::kRefcounts, counts + std::max(kLeastCountsSlack, counts / 4), counts, one);
    // Long enough for the next one, too, so that it goes there.
    const std::uint64_t next = align_up(directory.length + kLongestRecord, kPage);
    if (s.is_ok()) s = hold(Structure::kDirectory, next, directory.length, one);
  }
  if (s.is_ok()) {
    changed_.store(true, std::memory_order_release);
  } else {
    space_stale_.store(true, std::memory_order_release);
  }
  return s;
}

void ImageImpl::space_changed() {
  held_.update();
  space_stale_.store(true, std::memory_order_release);
}

// A deletion that is the first change since the image was opened on a full disk has nothing held. The half of the
// journal that no epoch uses means nothing, so the host gets back `bytes` of it, until the deletion has freed as much.
// False when that cannot be: then something acknowledged may need both halves.
bool ImageImpl::lend_idle_journal(std::uint64_t bytes) {
  const std::lock_guard leadership(commits_);
  const std::lock_guard lock(holding_);
  if (changed_.load(std::memory_order_acquire) || storage_.file().is_block_device()) return false;
  journal_reserved_.store(false, std::memory_order_release);
  return journal_.lend_idle_half(superblock_.epoch, bytes).is_ok();
}

}  // namespace fvd
