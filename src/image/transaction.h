// Transaction: one switch of the superblock, with the objects that it brings and those that it drops.
//
// The order that crash safety rests on (docs/crash-safety.md), in one place:
//   1. new objects are written to chunks that nothing refers to
//   2. all that was written so far is made durable, data as well as objects
//   3. for a new epoch: what changed since the cut becomes its first journal batch, durable too
//   4. the superblock is written to the slot that does not hold the current one, and made durable
//   5. memory follows: superblock, journal position, directory
//   6. objects that only the old superblock referred to are free
// Until 4 nothing has happened: what was written is free again when the transaction goes. When a sync or the
// superblock's write fails nobody knows what is on the disk: the image turns read-only and nothing is freed.
#ifndef FVD_IMAGE_TRANSACTION_H_
#define FVD_IMAGE_TRANSACTION_H_

#include <memory>
#include <utility>
#include <vector>

#include "image/image_impl.h"

namespace fvd {

// For one thread. REQUIRES operation_ as long as it lives.
class ImageImpl::Transaction {
 public:
  using Records = SnapshotDirectory::Records;
  enum class Epoch : std::uint8_t { kSame, kNew };
  enum class Leads : std::uint8_t { kNotYet, kAlready };  // commits, which a new epoch keeps out

  // `room`: where the objects may go. A new epoch REQUIRES a cut begun before the front's table was captured.
  explicit Transaction(ImageImpl& image, Epoch epoch, Room room = Room::kFree)
      : image_(image), room_(room), epoch_(epoch), next_(image.next_superblock(epoch == Epoch::kNew)) {}
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  // The superblock to come, for what is more than a reference to the objects below.
  [[nodiscard]] format::Superblock& next() { return next_; }

  // Each writes one object. A table is referred to by whom the caller says: next(), or a record.
  Result<format::ObjectRef> write_table(const TableCapture& capture);
  Status write_refcounts(Refcounts& counts);
  Status write_directory(Records records);
  // A snapshot of what was captured: its table, one count more for each of the chunks that it reaches, and its record,
  // whose id and table are set.
  Status add_snapshot(format::SnapshotRecord* record, const TableCapture& capture, const Bits& reached);
  // A snapshot's table that is free after the switch, if nothing refers to it then.
  void drop(const format::ObjectRef& table) { replaced_.emplace_back(Structure::kTable, table); }
  // Frees what was written so far; other objects may be written in its stead.
  void abandon();

  // Steps 2 to 6. kBusy: writers have changed more since the cut than the journal holds.
  Status commit(Leads leads = Leads::kNotYet);

 private:
  Status switch_superblock(Leads leads);
  Result<format::ObjectRef> write(Structure what, std::span<const std::byte> object, std::uint32_t crc);
  Status write_directory_to(const HeldSpace::Run& run);
  void free_replaced(const std::shared_ptr<const Records>& old_records);

  ImageImpl& image_;
  const Room room_;
  const Epoch epoch_;
  format::Superblock next_;
  std::shared_ptr<const Records> records_;  // none: the directory stays
  std::vector<std::pair<Structure, format::ObjectRef>> written_;
  std::vector<std::pair<Structure, format::ObjectRef>> replaced_;
};

}  // namespace fvd

#endif  // FVD_IMAGE_TRANSACTION_H_
