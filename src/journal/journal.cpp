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

}  // namespace

Status Journal::append(JournalPosition& at, format::BatchBuilder& batch) {
  std::uint32_t crc = 0;
  const auto bytes = batch.finish(at.epoch, at.salt, at.next_sequence, at.previous_crc, &crc);
  if (Status s = storage_.write(Structure::kJournal, file_offset(at), bytes); !s) return s;
  at.offset += bytes.size();
  ++at.next_sequence;
  at.previous_crc = crc;
  return Status::ok();
}

Status Journal::replay(JournalPosition& at, const format::Geometry& geometry, std::uint32_t virtual_chunks,
                       std::uint32_t chunk_limit, const std::function<void(const format::JournalRecord&)>& apply) {
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
    if (Status s = format::for_each_record(bytes, batch, geometry, virtual_chunks, chunk_limit, apply); !s) return s;
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
