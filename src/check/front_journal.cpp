// Checker: the front, which is a base table and the journal since, and what the journal proves beyond that.
#include <algorithm>

#include "base/checked.h"
#include "base/endian.h"
#include "check/checker.h"
#include "check/words.h"

namespace fvd {

using format::JournalBatch;
using format::kChunkMask;
using format::kPage;
using format::kPartialFlag;
using format::TableView;

namespace {

// Bounds of the search for later batches: no honest journal is longer, and nothing in one looks like a batch and is
// none.
constexpr std::uint64_t kFarthestLook = 64 << 20;
constexpr std::uint64_t kPiece = 256 << 10;
constexpr int kMostCandidates = 64;

}  // namespace

std::uint64_t Checker::half_offset(std::uint64_t half) const {
  return header_.journal_offset + half * header_.journal_half_size;
}

// Reads the rest of a batch of which `bytes` holds the first page. False when it is not whole.
bool Checker::read_batch(std::uint64_t at, const JournalBatch& batch, std::vector<std::byte>* bytes) {
  if (batch.length > kPage) {
    if (batch.length > longest_credible(header_.journal_half_size)) return false;
    bytes->resize(batch.length);
    if (!read(at, *bytes)) return false;
  }
  return format::batch_crc_is_right(*bytes, batch);
}

void Checker::replay(std::uint32_t virtual_chunks) {
  const std::uint64_t half = superblock_.epoch & 1;
  const std::uint64_t start = half_offset(half);
  std::uint64_t offset = 0;
  std::uint64_t sequence = 1;
  std::uint32_t previous = 0;
  std::vector<std::byte> bytes;
  while (offset + kPage <= header_.journal_half_size && start + offset < file_size_) {
    bytes.resize(kPage);
    if (!read(start + offset, bytes)) return;
    const std::uint64_t left = std::min(header_.journal_half_size - offset, file_size_ - start - offset);
    format::JournalBatch batch;
    if (!format::decode_batch_header(bytes, superblock_.epoch, superblock_.journal_salt, sequence, previous, left,
                                     &batch)) {
      break;
    }
    if (!read_batch(start + offset, batch, &bytes)) break;
    const Status s =
        format::for_each_record(bytes, batch, geometry_, virtual_chunks, limit_, [&](const format::JournalRecord& r) {
          ++report_.journal_records;
          if (r.kind == format::JournalRecord::Kind::kInPlace) return journal_data_.clear();
          if (r.kind == format::JournalRecord::Kind::kData) return void(journal_data_.insert(r.virtual_chunk));
          // Where the base table's chunk was another, which is not known here, what the data was for is given up.
          const auto before = journaled_.find(r.virtual_chunk);
          if (before == journaled_.end() || ((before->second.entry ^ r.entry) & kChunkMask) != 0) {
            journal_data_.erase(r.virtual_chunk);
          }
          FrontEntry entry{r.entry, r.origin, 0};
          if ((r.entry & kPartialFlag) != 0) {
            std::vector<std::byte> bitmap(geometry_.bitmap_bytes());
            for (std::size_t w = 0; w < r.words.size(); ++w) {
              store_le(bitmap.data() + (r.first_word + w) * 8, r.words[w]);
            }
            entry.shape = shape_of(r.origin, bitmap);
          }
          journaled_[r.virtual_chunk] = entry;
        });
    if (!s) {
      corrupt("journal", s.message());
      break;
    }
    offset += align_up(batch.length, kPage);
    ++sequence;
    previous = batch.crc;
  }
  if (offset != 0) report_.clean = false;
  if (!io_error_.is_ok()) return;
  look_for_later_batches(half, offset, sequence);
  look_for_later_batches(1 - half, 0, 0);
}

// A batch is written when all before it are durable, and all of an epoch but the first when its superblock is: so a
// whole one that nothing leads to proves that something which counted is gone. docs/crash-safety.md has the argument.
void Checker::look_for_later_batches(std::uint64_t half, std::uint64_t from, std::uint64_t next_sequence) {
  const bool own = half == (superblock_.epoch & 1);
  const std::uint64_t start = half_offset(half);
  const std::uint64_t stop = std::min({start + header_.journal_half_size, start + kFarthestLook, file_size_});
  std::vector<std::byte> piece;
  std::vector<std::byte> bytes;
  int candidates = 0;
  for (std::uint64_t at = start + from; at < stop; at += piece.size()) {
    const auto data = file_.seek_data(at, stop);
    if (!data) {
      io_error_ = data.status();
      return;
    }
    at = align_down(*data, kPage);
    if (at >= stop) return;
    piece.resize(std::min(kPiece, stop - at));
    if (!read(at, piece)) return;
    for (std::uint64_t i = 0; i + kPage <= piece.size(); i += kPage) {
      JournalBatch batch;
      const auto page = std::span<const std::byte>(piece).subspan(i, kPage);
      if (!format::decode_batch_header(page, header_.journal_half_size - (at + i - start), &batch)) continue;
      const bool newer = batch.epoch > superblock_.epoch && (batch.epoch & 1) == half &&
                         (batch.epoch != superblock_.epoch + 1 || batch.sequence > 1);
      const bool later = own && batch.epoch == superblock_.epoch && batch.salt == superblock_.journal_salt &&
                         batch.sequence >= next_sequence;
      if (!newer && !later) continue;
      if (++candidates > kMostCandidates) return;
      bytes.assign(page.begin(), page.end());
      if (!read_batch(at + i, batch, &bytes)) {
        if (!io_error_.is_ok()) return;
        continue;
      }
      if (later) {
        corrupt("journal", "batch " + std::to_string(next_sequence) + " of epoch " + std::to_string(batch.epoch) +
                               " is damaged, and batch " + std::to_string(batch.sequence) +
                               " behind it is whole: what they made durable is lost");
      } else if (!older_ || own || batch.epoch != superblock_.epoch + 1) {
        corrupt("superblock",
                "batch " + std::to_string(batch.sequence) + " of epoch " + std::to_string(batch.epoch) +
                    " in the journal was written after a superblock newer than " +
                    std::to_string(superblock_.sequence) + " (epoch " + std::to_string(superblock_.epoch) +
                    "), which is gone: what it made durable is lost",
                own || batch.epoch != superblock_.epoch + 1 ? Mend::kNothing : Mend::kOlderSuperblock);
      }
      return;
    }
  }
}

void Checker::use_front(std::uint32_t entry, std::uint32_t origin, std::uint32_t shape) {
  if (!names_a_chunk(entry)) return;
  // A chunk that no snapshot reaches is the front's to change; one that a snapshot reaches has one shape everywhere.
  const bool partial = (entry & kPartialFlag) != 0;
  use_data(entry & kChunkMask, partial, shape, 0, "current-state");
  if (partial && names_a_chunk(origin)) use_origin(origin, 0, "current-state");
}

// Data in the journal is put into the chunk that the front names there, so that must be the front's to change.
void Checker::judge_journal_data(std::uint32_t v, std::uint32_t entry) {
  if (journal_data_.erase(v) == 0) return;
  const std::uint32_t chunk = entry & kChunkMask;
  if (names_a_chunk(entry) && chunk <= limit_ && use_[chunk].count == 0 && use_[chunk].metadata == 0) return;
  corrupt("journal",
          "it has data for virtual chunk " + std::to_string(v) + ", which has no chunk of current-state's own");
}

void Checker::check_front() {
  replay(geometry_.virtual_chunks(superblock_.virtual_size));
  for (const auto& [v, mapping] : journaled_) {
    use_front(mapping.entry, mapping.origin, mapping.shape);
    judge_journal_data(v, mapping.entry);
  }
  check_base_table();
  while (!journal_data_.empty() && io_error_.is_ok()) judge_journal_data(*journal_data_.begin(), format::kEmpty);
}

void Checker::check_base_table() {
  if (superblock_.table.is_none()) return;
  const auto object = read_object(superblock_.table, "table", "the base table",
                                  format::TableHeader::longest(geometry_, superblock_.virtual_size));
  if (!object) return;
  const auto table = TableView::parse(*object, superblock_.table, geometry_, limit_);
  if (!table) {
    corrupt("table", "the base table: " + table.status().message());
    return;
  }
  if (table->header().virtual_size > superblock_.virtual_size) {
    corrupt("table", "the base table is larger than the disk");
    return;
  }
  std::uint32_t next_partial = 0;
  table->for_each_entry([&](std::uint32_t v, std::uint32_t entry) {
    const bool partial = (entry & kPartialFlag) != 0;
    const format::PartialRecord record = partial ? table->partial(next_partial++) : format::PartialRecord{};
    if (journaled_.contains(v)) return;
    use_front(entry, record.origin, partial ? shape_of(record.origin, record.bitmap) : 0);
    judge_journal_data(v, entry);
  });
}

}  // namespace fvd
