#include "journal/journal.h"

#include <vector>

#include "base/checked.h"

namespace fvd {

using format::JournalBatch;

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
    if (batch.length > format::kPage) {
      bytes.resize(align_up(batch.length, format::kPage));
      if (bytes.size() > half_size_ - at.offset) break;
      if (Status s = storage_.read(Structure::kJournal, file_offset(at), bytes); !s) return s;
    }
    if (!format::batch_crc_is_right(bytes, batch)) break;  // torn: it never became durable
    if (Status s = format::for_each_record(bytes, batch, geometry, virtual_chunks, chunk_limit, apply); !s) return s;
    at.offset += align_up(batch.length, format::kPage);
    ++at.next_sequence;
    at.previous_crc = batch.crc;
  }
  return Status::ok();
}

}  // namespace fvd
