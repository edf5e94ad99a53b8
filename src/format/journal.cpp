#include "format/journal.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "format/table.h"

namespace fvd::format {

void BatchBuilder::add(const JournalRecord& record) {
  const std::size_t at = bytes_.size();
  bytes_.resize(at + JournalRecord::kFixedSize + record.words.size() * 8);
  std::byte* p = bytes_.data() + at;
  store_le(p, record.virtual_chunk);
  store_le(p + 4, record.entry);
  store_le(p + 8, record.origin);
  store_le(p + 12, record.first_word);
  store_le(p + 14, static_cast<std::uint16_t>(record.words.size()));
  for (std::size_t i = 0; i < record.words.size(); ++i) store_le(p + 16 + i * 8, record.words[i]);
  ++count_;
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
    if (r.virtual_chunk >= virtual_chunks) return corrupt("a virtual chunk past the end of the disk");
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
