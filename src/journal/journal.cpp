#include "journal/journal.h"

#include <algorithm>

#include "base/checked.h"
#include "format/object.h"

namespace fvd {

using format::JournalBatch;

namespace {

// How check_nothing_lost() looks: the journals of our writers are shorter, and in an honest one nothing looks like a
// batch of this or a later epoch and is none. A hostile one costs no more than this.
constexpr std::uint64_t kFarthestLook = 64 << 20;
constexpr std::uint64_t kPiece = 256 << 10;
constexpr int kMostCandidates = 16;
constexpr std::uint64_t kStep = 1 << 20;        // what is written over ahead at a time
constexpr std::uint64_t kBatchesAHalf = 16;     // of the most data, at least
constexpr std::uint64_t kMostData = 512 << 10;  // more is written faster to its place than twice

}  // namespace

std::uint64_t Journal::most_data() const { return std::min<std::uint64_t>(half_size_ / kBatchesAHalf, kMostData); }

void Journal::reserve_for(std::uint64_t virtual_chunks) {
  const std::uint64_t table = align_up(virtual_chunks * sizeof(std::uint32_t), format::kPage);
  reserved_size_ = std::min(half_size_, std::max(kLeastReserved, table));
}

Result<std::uint64_t> Journal::written(std::uint64_t half) {
  std::optional<std::uint64_t>& known = written_[half];
  if (!known) {
    const std::uint64_t start = offset_ + half * half_size_;
    auto hole = storage_.file().seek_hole(start, start + half_size_);
    if (!hole) return hole.status();
    known = align_down(*hole - start, format::kPage);
  }
  return *known;
}

Result<bool> Journal::has_room(const JournalPosition& at, std::size_t padded_size, Durably durably) {
  if (!fits(at, padded_size)) return false;
  const std::uint64_t end = at.offset + padded_size;
  if (durably == Durably::kNo && end <= reserved_size_) return true;
  const std::uint64_t half = at.epoch & 1;
  auto have = written(half);
  if (!have) return have.status();
  if (end <= *have) return true;
  // Up to `at` batches were written.
  const std::uint64_t from = std::max(*have, at.offset);
  const std::uint64_t to = std::min(half_size_, align_up(end, kStep));
  const Status s = storage_.write_zeros_durably(offset_ + half * half_size_ + from, to - from);
  if (s.code() == Code::kNoSpace) return false;
  if (!s) return s;
  written_[half] = to;
  has_grown_ = has_grown_ || to > reserved_size_;
  return true;
}

Status Journal::shrink(bool all) {
  if (!all && !has_grown_) return Status::ok();
  for (std::uint64_t half = 0; half < 2; ++half) {
    auto have = written(half);
    if (!have) return have.status();
    if (*have <= reserved_size_) continue;
    written_[half].reset();
    const Status s = storage_.give_back(offset_ + half * half_size_ + reserved_size_, half_size_ - reserved_size_);
    if (!s) return s;
  }
  return Status::ok();
}

Status Journal::lend_idle_half(std::uint64_t epoch, std::uint64_t bytes) {
  const std::uint64_t half = (epoch + 1) & 1;
  written_[half].reset();
  auto have = written(half);
  if (!have) return have.status();
  written_[half].reset();
  const std::uint64_t top = std::max(*have, reserved_size_);
  const std::uint64_t from = top - std::min(align_up(bytes, format::kPage), top);
  return storage_.give_back(offset_ + half * half_size_ + from, half_size_ - from);
}

Status Journal::append(JournalPosition& at, format::BatchBuilder& batch, Durably durably) {
  std::uint32_t crc = 0;
  const auto bytes = batch.finish(at.epoch, at.salt, at.next_sequence, at.previous_crc, &crc);
  const Status s = durably == Durably::kYes ? storage_.write_durably(Structure::kJournal, file_offset(at), bytes)
                                            : storage_.write(Structure::kJournal, file_offset(at), bytes);
  if (!s) return s;
  at.offset += bytes.size();
  ++at.next_sequence;
  at.previous_crc = crc;
  return Status::ok();
}

Status Journal::replay(JournalPosition& at, const format::Geometry& geometry, std::uint32_t virtual_chunks,
                       std::uint32_t chunk_limit, const Apply& apply) {
  std::vector<std::byte> bytes(format::kPage);
  while (at.offset + format::kPage <= half_size_) {
    bytes.resize(format::kPage);
    if (Status s = storage_.read(Structure::kJournal, file_offset(at), bytes); !s) return s;
    JournalBatch batch;
    if (!format::decode_batch_header(bytes, at.epoch, at.salt, at.next_sequence, at.previous_crc,
                                     half_size_ - at.offset, &batch)) {
      break;
    }
    auto whole = finish_batch(file_offset(at), batch, &bytes);
    if (!whole) return whole.status();
    if (!*whole) break;  // torn: it never became durable
    const std::uint64_t where = file_offset(at);
    const auto apply_one = [&](const format::JournalRecord& record) { apply(record, where); };
    if (Status s = format::for_each_record(bytes, batch, geometry, virtual_chunks, chunk_limit, apply_one); !s) {
      return s;
    }
    at.offset += align_up(batch.length, format::kPage);
    ++at.next_sequence;
    at.previous_crc = batch.crc;
  }
  return Status::ok();
}

Result<bool> Journal::read_batch(std::uint64_t half, std::uint64_t offset, JournalBatch* batch) {
  if (offset > half_size_ - format::kPage) return false;
  const std::uint64_t at = offset_ + half * half_size_ + offset;
  std::vector<std::byte> bytes(format::kPage);
  if (Status s = storage_.read(Structure::kJournal, at, bytes); !s) return s;
  if (!format::decode_batch_header(bytes, half_size_ - offset, batch)) return false;
  return finish_batch(at, *batch, &bytes);
}

Result<bool> Journal::finish_batch(std::uint64_t file_offset, const JournalBatch& batch,
                                   std::vector<std::byte>* bytes) {
  if (batch.length > format::kPage) {
    auto allocated = storage_.file().allocated();
    if (!allocated) return allocated.status();
    if (batch.length > format::longest_credible(half_size_, *allocated)) return false;
    bytes->resize(batch.length);
    if (Status s = storage_.read(Structure::kJournal, file_offset, *bytes); !s) return s;
  }
  return format::batch_crc_is_right(*bytes, batch);
}

Status Journal::check_nothing_lost(const JournalPosition& end) {
  // The other half: the first batch of the next epoch is written before the superblock that begins it, the second
  // after.
  const std::uint64_t own = end.epoch & 1;
  JournalBatch batch;
  for (std::uint64_t offset = 0, sequence = 1; sequence <= 2;
       ++sequence, offset += align_up(batch.length, format::kPage)) {
    auto whole = read_batch(1 - own, offset, &batch);
    if (!whole) return whole.status();
    if (!*whole || batch.epoch <= end.epoch || (batch.epoch & 1) == own) break;
    if (batch.epoch > end.epoch + 1 || batch.sequence > 1) {
      return {Code::kCorrupt, "a newer superblock is gone: the journal goes on after it (epoch " +
                                  std::to_string(batch.epoch) + " after " + std::to_string(end.epoch) +
                                  "); open it read-only, or run fvd check"};
    }
  }
  // The own half: a batch is written only when all before it are durable.
  const std::uint64_t start = offset_ + own * half_size_;
  const std::uint64_t stop = start + std::min(half_size_, kFarthestLook);
  std::vector<std::byte> piece(kPiece);
  int candidates = 0;
  for (std::uint64_t at = start + end.offset; at < stop;) {
    auto data = storage_.file().seek_data(at, stop);
    if (!data) return data.status();
    at = align_down(*data, format::kPage);
    if (at >= stop) break;
    piece.resize(std::min(kPiece, stop - at));
    if (Status s = storage_.read(Structure::kJournal, at, piece); !s) return s;
    for (std::uint64_t i = 0; i + format::kPage <= piece.size(); i += format::kPage) {
      const std::uint64_t offset = at + i - start;
      if (!format::decode_batch_header(std::span(piece).subspan(i, format::kPage), half_size_ - offset, &batch))
        continue;
      const bool later = batch.epoch == end.epoch && batch.salt == end.salt && batch.sequence >= end.next_sequence;
      if (!later && (batch.epoch <= end.epoch || (batch.epoch & 1) != own)) continue;
      if (++candidates > kMostCandidates) return Status::ok();
      auto whole = read_batch(own, offset, &batch);
      if (!whole) return whole.status();
      if (!*whole) continue;
      return {Code::kCorrupt, later ? "journal batch " + std::to_string(end.next_sequence) +
                                          " is damaged, and what it and those after it made durable is lost; open the "
                                          "image read-only, or run fvd check"
                                    : "a newer superblock is gone: its journal lies over the older one's; "
                                      "open the image read-only, or run fvd check"};
    }
    at += piece.size();
  }
  return Status::ok();
}

}  // namespace fvd
