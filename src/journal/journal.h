// Journal: appends batches of mapping changes to the half of the journal that its epoch owns, and replays them.
//
// The journal is two halves; epoch e uses half e & 1 from its start. A new epoch begins with a superblock that names it
// and its salt, so the half of the epoch before is untouched until the switch is durable. Not thread-safe: whoever
// leads the commit uses it. Of a half only the beginning is reserved on the host before anything changes (space.cpp);
// the rest, and all that a durable write of its own goes to, is written over with zeros first, some way ahead, so that
// the batches that follow need nothing of the host's file system.
#ifndef FVD_JOURNAL_JOURNAL_H_
#define FVD_JOURNAL_JOURNAL_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
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
  static constexpr std::uint64_t kLeastReserved = 1 << 20;

  Journal(Storage& storage, const format::Header& header)
      : storage_(storage),
        offset_(header.journal_offset),
        half_size_(header.journal_half_size),
        reserved_size_(half_size_) {}

  [[nodiscard]] std::uint64_t half_size() const { return half_size_; }
  // Bytes from the start of each half that the host must have reserved.
  [[nodiscard]] std::uint64_t reserved_size() const { return reserved_size_; }
  // Reserved is about as much as the lookup table of so many chunks takes, which the deletion of a snapshot may need.
  void reserve_for(std::uint64_t virtual_chunks);
  [[nodiscard]] bool fits(const JournalPosition& at, std::size_t padded_size) const {
    return padded_size <= half_size_ && at.offset <= half_size_ - padded_size;
  }
  // The most data that one batch may hold: a small part of a half, so that a checkpoint comes after many.
  [[nodiscard]] std::uint64_t most_data() const;
  enum class Durably : std::uint8_t { kNo, kYes };
  // Whether the batch fits behind `at`, in storage that the host has given; with kYes, in storage that was written
  // before. Asks the host for more where that is missing, durably so when it returns: false too when it has none.
  Result<bool> has_room(const JournalPosition& at, std::size_t padded_size, Durably durably);
  // Writes the batch at `at` and moves `at` behind it. Durable after the next sync, with kYes when it returns, it
  // alone. `at` stays when the write fails. REQUIRES has_room().
  Status append(JournalPosition& at, format::BatchBuilder& batch, Durably durably = Durably::kNo);
  // Gives back what the halves have been given beyond what is reserved; `all`: also before the journal was opened.
  // REQUIRES that no batch is there that counts.
  Status shrink(bool all);
  // Gives back `bytes` of the half that `epoch` does not use, from the end of what it has. REQUIRES that nothing was
  // appended since the journal was opened.
  Status lend_idle_half(std::uint64_t epoch, std::uint64_t bytes);
  using Apply = std::function<void(const format::JournalRecord&, std::uint64_t batch_offset)>;  // of the file
  // Applies every record of the batches from `at` on, and moves `at` behind the last one that fits. kCorrupt when a
  // batch with the right CRC breaks the format.
  Status replay(JournalPosition& at, const format::Geometry& geometry, std::uint32_t virtual_chunks,
                std::uint32_t chunk_limit, const Apply& apply);
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
  Result<std::uint64_t> written(std::uint64_t half);

  Storage& storage_;
  const std::uint64_t offset_;
  const std::uint64_t half_size_;
  std::uint64_t reserved_size_;
  bool has_grown_ = false;  // beyond that, since it was opened
  // Bytes from the start of each half that the host has written storage for; none: not known yet.
  std::array<std::optional<std::uint64_t>, 2> written_;
};

}  // namespace fvd

#endif  // FVD_JOURNAL_JOURNAL_H_
