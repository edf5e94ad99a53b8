// Journal batches: the changes of current-state's mapping since its base table, in the order they became durable.
#ifndef FVD_FORMAT_JOURNAL_H_
#define FVD_FORMAT_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "format/layout.h"

namespace fvd::format {

// The whole truth about one virtual chunk; applying it twice, or after a later one, does no harm to the former rule:
// the last record of a chunk counts.
struct JournalRecord {
  static constexpr std::size_t kFixedSize = 16;
  std::uint32_t virtual_chunk = 0;
  std::uint32_t entry = 0;               // as in a table: EMPTY, ZERO, or a chunk with or without kPartialFlag
  std::uint32_t origin = 0;              // with kPartialFlag only, else 0
  std::uint16_t first_word = 0;          // of the bitmap; words outside [first_word, +words.size()) are 0
  std::span<const std::uint64_t> words;  // with kPartialFlag only, else empty
};

struct JournalBatch {
  static constexpr std::size_t kHeaderSize = 64;
  static constexpr std::uint32_t kMagic = 0x4A445646;  // "FVDJ"
  std::uint64_t epoch = 0;
  std::uint64_t salt = 0;
  std::uint64_t sequence = 0;      // 1, 2, 3, ... within an epoch
  std::uint32_t previous_crc = 0;  // crc of the batch before; 0 for the first
  std::uint32_t record_count = 0;
  std::uint32_t length = 0;  // bytes, header included, without padding
  std::uint32_t crc = 0;     // over bytes [12, length)
};

// Builds one batch. Not thread-safe.
class BatchBuilder {
 public:
  BatchBuilder() : bytes_(JournalBatch::kHeaderSize) {}
  void add(const JournalRecord& record);
  [[nodiscard]] std::uint32_t record_count() const { return count_; }
  // Bytes that the batch takes in the journal: padded with zeros to a multiple of kPage.
  [[nodiscard]] std::size_t padded_size() const;
  // Seals the batch (sets magic, length, counts, crc) and returns its padded bytes, valid until clear(). `crc` gets its
  // CRC.
  std::span<const std::byte> finish(std::uint64_t epoch, std::uint64_t salt, std::uint64_t sequence,
                                    std::uint32_t previous_crc, std::uint32_t* crc);
  void clear();

 private:
  std::vector<std::byte> bytes_;
  std::uint32_t count_ = 0;
};

// Reads the header of a batch, of whatever epoch, at the start of `in` (at least kHeaderSize bytes). False when there
// is none, or its length is not within [kHeaderSize, limit].
bool decode_batch_header(std::span<const std::byte> in, std::uint64_t limit, JournalBatch* batch);
// Reads the header of a batch at the start of `in` (at least kHeaderSize bytes). False when it is none of this epoch,
// salt, sequence and previous CRC, or its length is not within [kHeaderSize, limit].
bool decode_batch_header(std::span<const std::byte> in, std::uint64_t epoch, std::uint64_t salt, std::uint64_t sequence,
                         std::uint32_t previous_crc, std::uint64_t limit, JournalBatch* batch);
// True when the CRC over the whole batch (batch.length bytes of `in`) is right.
bool batch_crc_is_right(std::span<const std::byte> in, const JournalBatch& batch);
// Calls apply for each record of a batch whose CRC is right; kCorrupt (and nothing more applied) when a record breaks
// the format: virtual chunk >= virtual_chunks, invalid entry or origin, words beyond the bitmap, bits past
// blocks_per_chunk, or all blocks present.
Status for_each_record(std::span<const std::byte> in, const JournalBatch& batch, const Geometry& geometry,
                       std::uint32_t virtual_chunks, std::uint32_t chunk_limit,
                       const std::function<void(const JournalRecord&)>& apply);

}  // namespace fvd::format

#endif  // FVD_FORMAT_JOURNAL_H_
