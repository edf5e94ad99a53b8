// Journal: appends batches of mapping changes to the half of the journal that its epoch owns, and replays them.
//
// The journal is two halves; epoch e uses half e & 1 from its start. A new epoch begins with a superblock that names it
// and its salt, so the half of the epoch before is untouched until the switch is durable. Not thread-safe: whoever
// leads the commit uses it.
#ifndef FVD_JOURNAL_JOURNAL_H_
#define FVD_JOURNAL_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "format/header.h"
#include "format/journal.h"
#include "fvd/status.h"
#include "io/storage.h"

namespace fvd {

// Where the next batch of an epoch goes.
struct JournalPosition {
  std::uint64_t epoch = 0;
  std::uint64_t salt = 0;
  std::uint64_t offset = 0;  // bytes from the start of the half
  std::uint64_t next_sequence = 1;
  std::uint32_t previous_crc = 0;
};

class Journal {
 public:
  Journal(Storage& storage, const format::Header& header)
      : storage_(storage), offset_(header.journal_offset), half_size_(header.journal_half_size) {}

  [[nodiscard]] std::uint64_t half_size() const { return half_size_; }
  [[nodiscard]] bool fits(const JournalPosition& at, std::size_t padded_size) const {
    return padded_size <= half_size_ && at.offset <= half_size_ - padded_size;
  }
  // Writes the batch at `at` and moves `at` behind it. Durable after the next sync. `at` stays when the write fails.
  // REQUIRES fits().
  Status append(JournalPosition& at, format::BatchBuilder& batch);
  // Applies every record of the batches from `at` on, and moves `at` behind the last one that fits. kCorrupt when a
  // batch with the right CRC breaks the format.
  Status replay(JournalPosition& at, const format::Geometry& geometry, std::uint32_t virtual_chunks,
                std::uint32_t chunk_limit, const std::function<void(const format::JournalRecord&)>& apply);
  // kCorrupt when the journal proves that something which was acknowledged is gone: a whole batch of the same epoch
  // behind the place where replay ended, or one that only a newer superblock can have let anybody write.
  // REQUIRES that `end` is where replay() left it. docs/crash-safety.md says why this is proof.
  Status check_nothing_lost(const JournalPosition& end);

 private:
  // Reads the rest of a batch of which `bytes` holds the first page; false when its CRC is wrong.
  Result<bool> finish_batch(std::uint64_t file_offset, const format::JournalBatch& batch,
                            std::vector<std::byte>* bytes);
  // Reads the batch at `offset` of `half`; false when there is none that is whole.
  Result<bool> read_batch(std::uint64_t half, std::uint64_t offset, format::JournalBatch* batch);
  [[nodiscard]] std::uint64_t file_offset(const JournalPosition& at) const {
    return offset_ + (at.epoch & 1) * half_size_ + at.offset;
  }

  Storage& storage_;
  const std::uint64_t offset_;
  const std::uint64_t half_size_;
};

}  // namespace fvd

#endif  // FVD_JOURNAL_JOURNAL_H_
