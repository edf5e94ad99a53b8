// Committing: the journal, checkpoints, the superblock switch, and giving freed chunks back.
//
// docs/crash-safety.md lists the steps and what a crash after each leaves. In short: data, sync, journal batch, sync;
// and for a switch: objects, sync, batch of what changed since the cut into the other half, sync, superblock, sync.
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <tuple>

#include "base/checked.h"
#include "image/transaction.h"
#include "map/block_bits.h"

namespace fvd {

using format::kChunkMask;
using format::kPartialFlag;
using format::Superblock;

namespace {

std::uint64_t random_salt() {
  std::uint64_t salt = 0;
  if (::getrandom(&salt, sizeof salt, 0) != sizeof salt) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    salt = static_cast<std::uint64_t>(now.tv_sec) * 1000000007ULL ^ static_cast<std::uint64_t>(now.tv_nsec);
  }
  return salt;
}

}  // namespace

void ImageImpl::set_failed(const Status& why) {
  {
    const std::lock_guard lock(superblock_mutex_);
    if (failed_.load(std::memory_order_relaxed)) return;
    failure_ = why.message();
    failed_.store(true, std::memory_order_release);
  }
  if (options_.on_failure) options_.on_failure(why);
}

Status ImageImpl::out_of_memory() {
  try {
    if (!read_only_) set_failed(no_memory_);
  } catch (const std::bad_alloc&) {
    failed_.store(true, std::memory_order_release);  // whoever wanted to tell of it could not
  }
  return no_memory_;
}

std::uint64_t ImageImpl::current_epoch() const {
  const std::lock_guard lock(superblock_mutex_);
  return superblock_.epoch;
}

CommitQueue::Outcome ImageImpl::commit_once(Commit how) {
  return commits_.commit([this, how] {
    CommitQueue::Outcome result;
    try {
      result.status = run_commit(how, &result.journal_full);
    } catch (const std::bad_alloc&) {
      result.status = out_of_memory();  // for all who wait for this commit
    }
    return result;
  });
}

Status ImageImpl::commit_all() {
  for (;;) {
    const CommitQueue::Outcome outcome = commit_once(Commit::kInPlace);
    if (!outcome.journal_full) return outcome.status;
    if (Status s = checkpoint(false); !s) return s;
  }
}

// Appends to `batch` the whole truth about virtual chunk `v` at this moment.
void ImageImpl::add_record(std::uint32_t v, format::BatchBuilder& batch) {
  Front::Stripe& stripe = front_.stripe(v);
  const std::lock_guard lock(stripe.mutex);
  if (v >= front_.table.size()) return;
  format::JournalRecord record;
  record.virtual_chunk = v;
  record.entry = front_.table.load_unmarked(v);
  if ((record.entry & kPartialFlag) != 0) {
    const PartialMap::Entry partial = stripe.partials.find(v);
    record.origin = *partial.origin;
    const auto used = [](std::uint64_t word) { return word != 0; };
    const auto first = std::find_if(partial.words.begin(), partial.words.end(), used);
    auto last = partial.words.end();
    while (last != first && *(last - 1) == 0) --last;
    record.first_word = static_cast<std::uint16_t>(first - partial.words.begin());
    record.words = std::span<const std::uint64_t>(first, last);
    if (record.words.empty()) record.first_word = 0;
  }
  batch.add(record);
}

bool ImageImpl::journal_may_hold_data() const {
  const std::lock_guard lock(superblock_mutex_);
  return (superblock_.incompat & format::kIncompatJournalData) != 0;
}

bool ImageImpl::add_data(std::vector<RecentWrites::Piece>& pieces, format::BatchBuilder& batch) {
  using Piece = RecentWrites::Piece;
  constexpr std::uint32_t kSector = format::JournalRecord::kSector;
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return std::tie(a.virtual_chunk, a.chunk, a.offset) < std::tie(b.virtual_chunk, b.chunk, b.offset);
  });
  for (std::size_t i = 0; i < pieces.size();) {
    const Piece& piece = pieces[i];
    const auto from = static_cast<std::uint32_t>(align_down(piece.offset, kSector));
    std::uint64_t to = align_up(piece.offset + std::uint64_t{piece.length}, kSector);
    for (++i; i < pieces.size(); ++i) {
      const Piece& next = pieces[i];
      if (next.virtual_chunk != piece.virtual_chunk || next.chunk != piece.chunk || next.offset > to) break;
      to = std::max(to, align_up(next.offset + std::uint64_t{next.length}, kSector));
    }
    {
      Front::Stripe& stripe = front_.stripe(piece.virtual_chunk);
      const std::lock_guard lock(stripe.mutex);
      if (piece.virtual_chunk >= front_.table.size()) return false;
      const std::uint32_t entry = front_.table.load(piece.virtual_chunk);
      if (!is_own(entry) || (entry & kChunkMask) != piece.chunk) return false;
      // The batch, or one before it, has the mapping as it is now; data without its mapping would be nobody's.
      if (front_.changes.contains(piece.virtual_chunk)) return false;
      if ((entry & kPartialFlag) != 0) {
        const PartialMap::Entry partial = stripe.partials.find(piece.virtual_chunk);
        const auto last = static_cast<std::uint32_t>(div_ceil(to, geometry_.block_size()));
        if (run_end(partial.words, from >> geometry_.block_log2, last, true) != last) return false;
      }
    }
    // The chunk stays what it is: what is given up from here on waits for the next commit.
    const std::span<std::byte> place =
        batch.add_data(piece.virtual_chunk, from / kSector, static_cast<std::uint32_t>(to - from));
    const std::uint64_t at = geometry_.file_offset(piece.chunk) + from;
    const auto read = [&] { return storage_.read(Structure::kData, at, place).is_ok(); };
    if (!recent_.undisturbed(piece.virtual_chunk, read)) return false;
  }
  return !batch.has_pages_like_batches();
}

Result<bool> ImageImpl::commit_in_journal(std::vector<RecentWrites::Piece>& pieces) {
  if (!add_data(pieces, batch_)) return false;
  if (batch_.record_count() == 0) return true;  // nothing happened since the last commit
  const auto room = journal_.has_room(position_, batch_.padded_size(), Journal::Durably::kYes);
  if (!room) return room.status();
  if (!*room) return false;
  if (Status s = journal_.append(position_, batch_, Journal::Durably::kYes); !s) {
    if (s.code() == Code::kNoSpace) return false;
    return s;
  }
  if (!pieces.empty()) {
    journal_has_data_.store(true, std::memory_order_release);
    journaled_commits_.fetch_add(1, std::memory_order_relaxed);
  }
  return true;
}

// REQUIRES the commit leadership. Sets *journal_full and commits nothing when the batch does not fit.
Status ImageImpl::run_commit(Commit how, bool* journal_full) {
  if (Status s = check_writable(); !s) return s;
  last_commit_.store(std::chrono::steady_clock::now(), std::memory_order_release);
  const std::vector<std::uint32_t> freed = quarantine_.take_pending();
  const std::vector<std::uint32_t> changed = front_.changes.take();
  batch_.clear();
  for (const std::uint32_t v : changed) add_record(v, batch_);
  // After the mappings: so all that they show is among what was written, or makes a sync needed.
  auto written = recent_.take();
  const bool grown = allocator_.take_grown();
  const bool unsynced = storage_.take_unsynced() || grown;
  const auto put_back = [&] {
    front_.changes.put_back(changed);
    quarantine_.put_back(freed);
    recent_.forget();
  };
  const auto fail = [&](const Status& s) {
    put_back();
    if (s.code() != Code::kNoSpace) set_failed(s);
    return s;
  };
  const bool has_data = journal_has_data_.load(std::memory_order_relaxed);
  if (how == Commit::kSoonest && !unsynced && written && (!changed.empty() || has_data) && journal_may_hold_data()) {
    const format::BatchBuilder::Mark mappings = batch_.mark();
    const auto done = commit_in_journal(*written);
    if (!done) return fail(done.status());
    if (*done) {
      commits_count_.fetch_add(1, std::memory_order_relaxed);
      quarantine_.freed(freed);
      look_how_full();
      return Status::ok();
    }
    if (!journal_.fits(position_, batch_.padded_size())) {
      put_back();
      *journal_full = true;
      return Status::ok();
    }
    batch_.cut_back(mappings);
  }
  if (has_data) batch_.add_in_place();
  const bool batched = batch_.record_count() != 0;
  if (batched) {
    const auto room = journal_.has_room(position_, batch_.padded_size(), Journal::Durably::kNo);
    if (!room) return fail(room.status());
    if (!*room) {
      put_back();
      *journal_full = true;
      return Status::ok();
    }
  }
  if (Status s = storage_.sync(); !s) return fail(s);
  commits_count_.fetch_add(1, std::memory_order_relaxed);
  if (batched) {
    if (Status s = journal_.append(position_, batch_); !s) {
      if (s.code() != Code::kNoSpace) return fail(s);
      put_back();  // what the host was thought to have storage for
      *journal_full = true;
      return Status::ok();
    }
    if (Status s = storage_.sync(); !s) {
      set_failed(s);
      return s;
    }
    journal_has_data_.store(false, std::memory_order_release);
  }
  quarantine_.freed(freed);
  look_how_full();
  return Status::ok();
}

// So that hardly anybody who flushes waits for a checkpoint.
void ImageImpl::look_how_full() {
  if (position_.offset < journal_.half_size() / 2 || !background_.joinable() ||
      filling_epoch_.exchange(position_.epoch, std::memory_order_acq_rel) == position_.epoch) {
    return;
  }
  background_wake_.notify_all();
}

Superblock ImageImpl::next_superblock(bool new_epoch) {
  const std::lock_guard lock(superblock_mutex_);
  Superblock next = superblock_;
  next.incompat |= format::kIncompatJournalData;
  ++next.sequence;
  next.flags &= ~Superblock::kFlagClean;
  if (new_epoch) {
    ++next.epoch;
    next.journal_salt = random_salt();
  }
  return next;
}

// Makes `next` the truth: everything it refers to must be on stable storage.
Status ImageImpl::write_superblock(Superblock next) {
  if (Status s = check_writable(); !s) return s;  // a commit may have failed meanwhile
  // Never over the current one, whichever slot the writer before used for it.
  next.self_offset = header_.superblock_offset[superblock_.self_offset == header_.superblock_offset[0] ? 1 : 0];
  std::array<std::byte, Superblock::kSize> bytes;
  next.encode(bytes);
  Status s = storage_.write(Structure::kSuperblock, next.self_offset, bytes);
  if (s.is_ok()) s = storage_.sync();
  if (!s) {
    // Which of the two superblocks is on the disk is not known any more: only a new open can tell.
    set_failed(s);
    return s;
  }
  const std::lock_guard lock(superblock_mutex_);
  superblock_ = std::move(next);
  return Status::ok();
}

// Switches to a new epoch whose base table was captured at the last cut: what changed since goes into the first
// batch of the new half. Until the superblock is durable, the old epoch with its own half is the truth.
Status ImageImpl::switch_epoch(Superblock next) {
  if (Status s = check_writable(); !s) return s;
  const std::vector<std::uint32_t> freed = quarantine_.take_pending();
  const std::vector<std::uint32_t> dirty = front_.changes.take();
  const auto put_back = [&] {
    front_.changes.put_back(dirty);
    quarantine_.put_back(freed);
  };
  // What commits have put into the old half only goes with it.
  const bool has_data = journal_has_data_.load(std::memory_order_relaxed);
  const std::vector<std::uint32_t> changed = front_.changes.since_cut();
  JournalPosition position{next.epoch, next.journal_salt, 0, 1, 0};
  batch_.clear();
  for (const std::uint32_t v : changed) add_record(v, batch_);
  if (batch_.record_count() != 0) {
    const auto room = journal_.has_room(position, batch_.padded_size(), Journal::Durably::kNo);
    if (!room || !*room) {
      put_back();
      if (!room) set_failed(room.status());
      return room ? Status(Code::kBusy, "more changed during the operation than the journal holds; try again")
                  : room.status();
    }
  }
  if (batch_.record_count() != 0 || has_data) {
    if (Status s = storage_.sync(); !s) {
      put_back();
      set_failed(s);
      return s;
    }
  }
  if (batch_.record_count() != 0) {
    Status s = journal_.append(position, batch_);
    if (!s) {
      put_back();
      if (s.code() != Code::kNoSpace) set_failed(s);
      return s;
    }
    s = storage_.sync();
    if (!s) {
      put_back();
      set_failed(s);
      return s;
    }
  }
  if (Status s = write_superblock(std::move(next)); !s) {
    put_back();
    return s;
  }
  position_ = position;
  journal_has_data_.store(false, std::memory_order_release);
  quarantine_.freed(freed);
  return Status::ok();
}

// Writers go on while a table is written, and what they change is the first batch of the new epoch. Should that be more
// than the journal holds, everything written so far is synced, and they are held for the second attempt.
Status ImageImpl::despite_writers(const std::function<Status(Writers)>& attempt) {
  Status s = attempt(Writers::kGoOn);
  if (s.code() != Code::kBusy) return s;
  if (s = storage_.sync(); !s) {
    set_failed(s);
    return s;
  }
  release_freed();  // what the first attempt wrote may be all the room there is
  return attempt(Writers::kHeld);
}

// Writes the front's table as a base table of the given virtual size, and switches to it.
Status ImageImpl::switch_table(std::uint64_t virtual_size, bool clean, Room room, Writers writers) {
  TableCapture capture(geometry_);
  capture.prepare(front_);
  std::unique_lock gate(gate_);
  capture.take(front_, false);
  if (writers == Writers::kGoOn) gate.unlock();
  capture.finish(virtual_size);
  Status s;
  {
    Transaction transaction(*this, Transaction::Epoch::kNew, room);
    auto table = transaction.write_table(capture);
    s = table.status();
    if (s.is_ok()) {
      transaction.next().virtual_size = virtual_size;
      transaction.next().table = *table;
      if (clean) transaction.next().flags |= Superblock::kFlagClean;
      s = transaction.commit();
    }
  }
  if (gate.owns_lock()) gate.unlock();
  front_.changes.end_capture();
  space_changed();
  return s;
}

// REQUIRES operation_. Writes the front's table as a new base table and empties the journal.
Status ImageImpl::checkpoint(bool clean) {
  if (Status s = check_writable(); !s) return s;
  const Status s = despite_writers([&](Writers writers) {
    // virtual_size() is ahead of the table while the disk is made smaller.
    return switch_table(superblock_.virtual_size, clean, Room::kFreeOrHeld, writers);
  });
  if (s.is_ok()) checkpoints_.fetch_add(1, std::memory_order_relaxed);
  return s;
}

bool ImageImpl::object_in_use(Structure what, const format::ObjectRef& ref) const {
  if (ref.is_none()) return true;
  const std::lock_guard lock(superblock_mutex_);
  if (superblock_.table.first_chunk == ref.first_chunk || superblock_.directory.first_chunk == ref.first_chunk ||
      superblock_.refcounts.first_chunk == ref.first_chunk) {
    return true;
  }
  return what == Structure::kTable && directory_.records()->name_table(ref.first_chunk);
}

void ImageImpl::free_object(Structure what, const format::ObjectRef& ref,
                            std::shared_ptr<const SnapshotRecords> directory) {
  if (ref.is_none()) return;
  // After a failed switch nobody knows which superblock is on the disk: keep what either may refer to.
  if (failed_.load(std::memory_order_acquire)) return;
  const std::uint32_t count = geometry_.object_chunks(ref.length);
  if (held_.take_back(what, {ref.first_chunk, count, ref.length, std::move(directory)})) return;
  std::vector<std::uint32_t> chunks(count);
  for (std::uint32_t i = 0; i < count; ++i) chunks[i] = ref.first_chunk + i;
  quarantine_.freed(chunks);
}

// Chunks that only wait to be given back may be what an operation's new objects need on a full device.
Status ImageImpl::make_room() {
  if (Status s = begin_change(); !s) return s;
  if (!storage_.file().is_block_device()) return Status::ok();
  if (!quarantine_.empty()) {
    if (Status s = commit_all(); !s) return s;
  }
  reclaim();
  return Status::ok();
}

void ImageImpl::after_operation() {
  space_changed();
  give_back_soon();
}

void ImageImpl::give_back_soon() {
  if (background_.joinable()) {
    background_wake_.notify_all();
  } else {
    reclaim();
  }
}

// Makes what commits have freed available again. What the chunks hold is given back later, if they are free still.
void ImageImpl::release_freed() {
  const std::lock_guard reclaiming(reclaim_mutex_);
  const std::vector<std::uint32_t> chunks = quarantine_.take_freed();
  if (chunks.empty()) return;
  gate_.drain();  // requests that looked the chunks up before they were freed
  for (const std::uint32_t chunk : chunks) allocator_.release(chunk, 1, false);
  reclaimer_.look_again();
}

void ImageImpl::reclaim() {
  const std::lock_guard reclaiming(reclaim_mutex_);
  std::vector<std::uint32_t> chunks = quarantine_.take_freed();
  if (chunks.empty()) return;
  gate_.drain();  // requests that looked the chunks up before they were freed
  std::sort(chunks.begin(), chunks.end());
  for (std::size_t i = 0; i < chunks.size();) {
    std::size_t n = 1;
    while (i + n < chunks.size() && chunks[i + n] == chunks[i] + n) ++n;
    const Status s = storage_.give_back(geometry_.file_offset(chunks[i]), n << geometry_.chunk_log2);
    // A chunk that could not be zeroed is free all the same; it is looked at again before it is used.
    allocator_.release(chunks[i], static_cast<std::uint32_t>(n), s.is_ok());
    i += n;
  }
}

}  // namespace fvd
