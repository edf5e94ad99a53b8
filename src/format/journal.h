// Journal batches: the changes of current-state's mapping since its base table, in the order they became durable; with
// small syncs the data too, so that one write makes both durable.
#ifndef FVD_FORMAT_JOURNAL_H_
#define FVD_FORMAT_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/aligned_bytes.h"
#include "format/layout.h"

namespace fvd::format {

// A mapping is the whole truth about one virtual chunk; applying it twice, or after a later one, does no harm to the
// former rule: the last record of a chunk counts. Data is what sectors of a virtual chunk hold, in the chunk that the
// mapping names so far; it counts until a mapping names another chunk there, and until a record says that all data
// before it is in place.
struct JournalRecord {
  static constexpr std::size_t kFixedSize = 16;
  static constexpr std::uint32_t kSector = 512;               // bytes; data is in whole ones
  static constexpr std::uint32_t kDataEntry = 0x80000000;     // in place of the entry
  static constexpr std::uint32_t kInPlaceEntry = 0x80000001;  // ditto
  enum class Kind : std::uint8_t { kMapping, kData, kInPlace };
  std::uint32_t virtual_chunk = 0;
  std::uint32_t entry = 0;               // as in a table: EMPTY, ZERO, or a chunk with or without kPartialFlag
  std::uint32_t origin = 0;              // with kPartialFlag only, else 0
  std::uint16_t first_word = 0;          // of the bitmap; words outside [first_word, +words.size()) are 0
  std::span<const std::uint64_t> words;  // with kPartialFlag only, else empty
  Kind kind = Kind::kMapping;            // the others have nothing of the above but, for data, the virtual chunk
  // Data only.
  std::uint32_t first_sector = 0;     // of the chunk
  std::span<const std::byte> data{};  // whole sectors
  std::uint64_t data_offset = 0;      // where they are, from the start of the batch
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
  void add(const JournalRecord& record);  // REQUIRES a mapping
  // Adds `length` bytes of data, whole sectors from `first_sector` of the chunk on, and returns the place to put them
  // in, valid until the next call.
  std::span<std::byte> add_data(std::uint32_t virtual_chunk, std::uint32_t first_sector, std::uint32_t length);
  void add_in_place();  // all data of earlier batches is where it belongs
  // Data in it could be taken for a batch by who looks for batches from page to page.
  [[nodiscard]] bool has_pages_like_batches() const;
  struct Mark {
    std::size_t size = 0;
    std::uint32_t count = 0;
  };
  [[nodiscard]] Mark mark() const { return {bytes_.size(), count_}; }
  void cut_back(const Mark& mark);  // forgets what was added since
  [[nodiscard]] std::uint32_t record_count() const { return count_; }
  // Bytes that the batch takes in the journal: padded with zeros to a multiple of kPage.
  [[nodiscard]] std::size_t padded_size() const;
  // Seals the batch (sets magic, length, counts, crc) and returns its padded bytes, valid until clear(). `crc` gets its
  // CRC.
  std::span<const std::byte> finish(std::uint64_t epoch, std::uint64_t salt, std::uint64_t sequence,
                                    std::uint32_t previous_crc, std::uint32_t* crc);
  void clear();

 private:
  std::byte* append(std::size_t bytes);

  AlignedBytes bytes_;
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
// blocks_per_chunk, all blocks present, or data beyond the chunk.
Status for_each_record(std::span<const std::byte> in, const JournalBatch& batch, const Geometry& geometry,
                       std::uint32_t virtual_chunks, std::uint32_t chunk_limit,
                       const std::function<void(const JournalRecord&)>& apply);

}  // namespace fvd::format

#endif  // FVD_FORMAT_JOURNAL_H_
