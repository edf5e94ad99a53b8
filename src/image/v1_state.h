// V1State: the disk in an original FVD image (version 1), as it stands. Reads only; writes nothing, wherever.
//
// Bitmap and lookup table are read into memory, and the journal is replayed there when the image was not closed in
// order. Which bytes come from where is then a matter of pure lookups: immutable, so thread-safe.
#ifndef FVD_IMAGE_V1_STATE_H_
#define FVD_IMAGE_V1_STATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backing/base_image.h"
#include "format/v1_header.h"
#include "format/v1_journal.h"
#include "fvd/image.h"
#include "io/storage.h"

namespace fvd {

class V1State {
 public:
  // A run of bytes of the disk that comes from one place.
  struct Piece {
    enum class From : std::uint8_t { kZeros, kBase, kStore };
    From from = From::kZeros;
    std::uint64_t offset = 0;       // bytes, of the disk
    std::uint64_t length = 0;       // bytes
    std::uint64_t file_offset = 0;  // in the base image or the data store
  };

  // Reads all metadata and opens what the image names besides itself: a base image and a data file, both raw, relative
  // paths from the image's directory. `storage` must outlive the state. kCorrupt for what contradicts itself;
  // kUnsupported for a base or data file that is not raw. With `without_base`, a base that cannot be used is no
  // hindrance; reading from it then fails with base()->why_missing().
  static Result<std::unique_ptr<V1State>> load(Storage& storage, bool without_base = false);

  [[nodiscard]] const format::V1Header& header() const { return header_; }
  [[nodiscard]] std::uint64_t virtual_size() const { return header_.virtual_size; }
  // The place of the byte at `offset`, and as much behind it as comes from there and ends before `end`.
  // REQUIRES offset < end <= virtual_size().
  [[nodiscard]] Piece piece(std::uint64_t offset, std::uint64_t end) const;
  // Fills `out` from `offset`. REQUIRES the range within the disk.
  Status read(std::uint64_t offset, std::span<std::byte> out);
  Status read_piece(const Piece& piece, std::span<std::byte> out);

  // The file that holds the data. What lies past its end reads as zeros.
  [[nodiscard]] File& store() { return data_file_ ? *data_file_ : storage_.file(); }
  [[nodiscard]] BaseImage* base() { return base_.get(); }
  // By virtual chunk: a physical chunk, or V1Header::kEmpty. Empty without a table.
  [[nodiscard]] std::span<const std::uint32_t> table() const { return table_; }
  // A bit for each block of the base; words of 64, the lowest bit first.
  [[nodiscard]] std::span<const std::uint64_t> bitmap() const { return bitmap_; }
  [[nodiscard]] std::uint64_t mapped() const { return mapped_; }  // entries of the table that name a chunk
  // The first physical chunk behind all that the table names and behind all metadata. REQUIRES a table.
  [[nodiscard]] std::uint32_t first_free_chunk() const;
  // kCorrupt when two virtual chunks have one physical chunk, which the original never makes.
  [[nodiscard]] Status check_unique() const;
  [[nodiscard]] std::uint64_t replayed() const { return records_; }  // records of the journal

 private:
  explicit V1State(Storage& storage) : storage_(storage) {}
  Status load_metadata();
  Status replay_journal();
  Status replay_sector(std::span<const std::byte, format::kV1JournalSector> sector);
  Status apply(const format::V1JournalRecord& record);
  void set_bits();  // of the blocks in fetched_
  void merge_fetched();
  Result<std::unique_ptr<BaseImage>> open_base();
  Status open_data_file();
  Status check_chunks();
  [[nodiscard]] bool in_image(std::uint64_t block) const { return (bitmap_[block / 64] >> (block % 64) & 1) != 0; }
  // First block from `block` on whose bit differs, or `end`.
  [[nodiscard]] std::uint64_t end_of_run(std::uint64_t block, std::uint64_t end) const;

  Storage& storage_;
  format::V1Header header_;
  std::vector<std::uint32_t> table_;
  std::vector<std::uint64_t> bitmap_;
  // Blocks that the journal says are in the image: first and one past the last. Merged from time to time, so that a
  // hostile journal cannot make replaying it take for ever.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> fetched_;
  std::size_t merge_at_ = 1 << 20;  // ranges
  std::unique_ptr<BaseImage> base_;
  std::unique_ptr<File> data_file_;
  std::uint64_t mapped_ = 0;
  std::uint64_t records_ = 0;
};

}  // namespace fvd

#endif  // FVD_IMAGE_V1_STATE_H_
