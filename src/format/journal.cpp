#include "format/journal.h"

#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "format/table.h"

namespace fvd::format {

std::byte* BatchBuilder::append(std::size_t bytes) {
  const std::size_t at = bytes_.size();
  bytes_.resize(at + bytes);
  ++count_;
  return bytes_.data() + at;
}

void BatchBuilder::add(const JournalRecord& record) {
  std::byte* p = append(JournalRecord::kFixedSize + record.words.size() * 8);
  store_le(p, record.virtual_chunk);
  store_le(p + 4, record.entry);
  store_le(p + 8, record.origin);
  store_le(p + 12, record.first_word);
  store_le(p + 14, static_cast<std::uint16_t>(record.words.size()));
  for (std::size_t i = 0; i < record.words.size(); ++i) store_le(p + 16 + i * 8, record.words[i]);
}

std::span<std::byte> BatchBuilder::add_data(std::uint32_t virtual_chunk, std::uint32_t first_sector,
                                            std::uint32_t length) {
  std::byte* p = append(JournalRecord::kFixedSize + length);
  store_le(p, virtual_chunk);
  store_le(p + 4, JournalRecord::kDataEntry);
  store_le(p + 8, first_sector);
  store_le<std::uint32_t>(p + 12, length / JournalRecord::kSector);
  return {p + JournalRecord::kFixedSize, length};
}

void BatchBuilder::add_in_place() {
  std::byte* p = append(JournalRecord::kFixedSize);
  store_le<std::uint32_t>(p, 0);
  store_le(p + 4, JournalRecord::kInPlaceEntry);
  store_le<std::uint64_t>(p + 8, 0);
}

bool BatchBuilder::has_pages_like_batches() const {
  for (std::size_t at = kPage; at + sizeof JournalBatch::kMagic <= bytes_.size(); at += kPage) {
    if (load_le<std::uint32_t>(bytes_.data() + at) == JournalBatch::kMagic) return true;
  }
  return false;
}

void BatchBuilder::cut_back(const Mark& mark) {
  bytes_.resize(mark.size);
  count_ = mark.count;
}

std::size_t BatchBuilder::padded_size() const { return align_up(bytes_.size(), kPage); }

std::span<const std::byte> BatchBuilder::finish(std::uint64_t epoch, std::uint64_t salt, std::uint64_t sequence,
                                                std::uint32_t previous_crc, std::uint32_t* crc) {
  const auto length = static_cast<std::uint32_t>(bytes_.size());
  bytes_.resize(padded_size());
  std::byte* p = bytes_.data();
  std::memset(p, 0, JournalBatch::kHeaderSize);
  store_le(p, JournalBatch::kMagic);
  store_le(p + 4, length);
  store_le(p + 12, count_);
  store_le(p + 16, epoch);
  store_le(p + 24, salt);
  store_le(p + 32, sequence);
  store_le(p + 40, previous_crc);
  *crc = crc32c(std::span(bytes_).subspan(12, length - 12));
  store_le(p + 8, *crc);
  return bytes_;
}

void BatchBuilder::clear() {
  bytes_.assign(JournalBatch::kHeaderSize, std::byte{0});
  count_ = 0;
}

bool decode_batch_header(std::span<const std::byte> in, std::uint64_t limit, JournalBatch* batch) {
  if (in.size() < JournalBatch::kHeaderSize) return false;
  const std::byte* p = in.data();
  batch->length = load_le<std::uint32_t>(p + 4);
  batch->crc = load_le<std::uint32_t>(p + 8);
  batch->record_count = load_le<std::uint32_t>(p + 12);
  batch->epoch = load_le<std::uint64_t>(p + 16);
  batch->salt = load_le<std::uint64_t>(p + 24);
  batch->sequence = load_le<std::uint64_t>(p + 32);
  batch->previous_crc = load_le<std::uint32_t>(p + 40);
  return load_le<std::uint32_t>(p) == JournalBatch::kMagic && batch->length >= JournalBatch::kHeaderSize &&
         batch->length <= limit;
}

bool decode_batch_header(std::span<const std::byte> in, std::uint64_t epoch, std::uint64_t salt, std::uint64_t sequence,
                         std::uint32_t previous_crc, std::uint64_t limit, JournalBatch* batch) {
  return decode_batch_header(in, limit, batch) && batch->epoch == epoch && batch->salt == salt &&
         batch->sequence == sequence && batch->previous_crc == previous_crc;
}

bool batch_crc_is_right(std::span<const std::byte> in, const JournalBatch& batch) {
  return batch.length >= JournalBatch::kHeaderSize && in.size() >= batch.length &&
         crc32c(in.subspan(12, batch.length - 12)) == batch.crc;
}

Status for_each_record(std::span<const std::byte> in, const JournalBatch& batch, const Geometry& geometry,
                       std::uint32_t virtual_chunks, std::uint32_t chunk_limit,
                       const std::function<void(const JournalRecord&)>& apply) {
  const auto corrupt = [&](const char* what) {
    return Status(Code::kCorrupt, "journal batch " + std::to_string(batch.sequence) + ": " + what + "; run fvd check");
  };
  if (in.size() < batch.length || batch.length < JournalBatch::kHeaderSize) return corrupt("cut off");
  std::span<const std::byte> left = in.subspan(JournalBatch::kHeaderSize, batch.length - JournalBatch::kHeaderSize);
  for (std::size_t i = 44; i < JournalBatch::kHeaderSize; ++i) {
    if (in[i] != std::byte{0}) return corrupt("a reserved field is in use");
  }
  std::array<std::uint64_t, kMaxBlocksPerChunk / 64> words;
  const std::uint32_t spare = geometry.bitmap_words() * 64 - geometry.blocks_per_chunk();
  for (std::uint32_t i = 0; i < batch.record_count; ++i) {
    if (left.size() < JournalRecord::kFixedSize) return corrupt("a record is cut off");
    const std::byte* p = left.data();
    JournalRecord r;
    r.virtual_chunk = load_le<std::uint32_t>(p);
    r.entry = load_le<std::uint32_t>(p + 4);
    r.origin = load_le<std::uint32_t>(p + 8);
    r.first_word = load_le<std::uint16_t>(p + 12);
    const std::size_t count = load_le<std::uint16_t>(p + 14);
    if (r.entry == JournalRecord::kInPlaceEntry) {
      if (r.virtual_chunk != 0 || load_le<std::uint64_t>(p + 8) != 0) return corrupt("a reserved field is in use");
      r.kind = JournalRecord::Kind::kInPlace;
      apply(r);
      left = left.subspan(JournalRecord::kFixedSize);
      continue;
    }
    if (r.virtual_chunk >= virtual_chunks) return corrupt("a virtual chunk past the end of the disk");
    if (r.entry == JournalRecord::kDataEntry) {
      const std::uint64_t length = std::uint64_t{load_le<std::uint32_t>(p + 12)} * JournalRecord::kSector;
      if (length == 0 || std::uint64_t{r.origin} * JournalRecord::kSector + length > geometry.chunk_size()) {
        return corrupt("data that is empty, or beyond its chunk");
      }
      if (left.size() < JournalRecord::kFixedSize + length) return corrupt("a record is cut off");
      r.kind = JournalRecord::Kind::kData;
      r.first_sector = std::exchange(r.origin, 0);
      r.first_word = 0;
      r.data = left.subspan(JournalRecord::kFixedSize, length);
      r.data_offset = static_cast<std::uint64_t>(r.data.data() - in.data());
      apply(r);
      left = left.subspan(JournalRecord::kFixedSize + length);
      continue;
    }
    if (!entry_is_valid(r.entry, chunk_limit)) return corrupt("an entry out of range");
    if ((r.entry & kPartialFlag) == 0) {
      if (r.origin != 0 || r.first_word != 0 || count != 0) return corrupt("an origin for a chunk that is not partial");
    } else {
      if (!origin_is_valid(r.origin, chunk_limit)) return corrupt("an origin out of range");
      if (r.first_word + count > geometry.bitmap_words()) return corrupt("a bitmap that is too long");
    }
    if (left.size() < JournalRecord::kFixedSize + count * 8) return corrupt("a record is cut off");
    for (std::size_t w = 0; w < count; ++w) words[w] = load_le<std::uint64_t>(p + 16 + w * 8);
    if (spare != 0 && count != 0 && r.first_word + count == geometry.bitmap_words() &&
        words[count - 1] >> (64 - spare) != 0) {
      return corrupt("a bitmap with bits beyond its chunk");
    }
    std::uint32_t present = 0;
    for (std::size_t w = 0; w < count; ++w) present += static_cast<std::uint32_t>(std::popcount(words[w]));
    if (present == geometry.blocks_per_chunk()) return corrupt("a partial chunk with all its blocks");
    r.words = std::span(words).first(count);
    apply(r);
    left = left.subspan(JournalRecord::kFixedSize + count * 8);
  }
  if (!left.empty()) return corrupt("bytes behind the last record");
  return Status::ok();
}

}  // namespace fvd::format
