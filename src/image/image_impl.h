// ImageImpl: the engine behind fvd::Image. Its methods are spread over open.cpp (recovery), read_write.cpp,
// discard.cpp, commit.cpp, transaction.cpp, space.cpp, snapshot_ops.cpp, snapshot_import.cpp, settle.cpp,
// background.cpp, compact.cpp, flatten.cpp, diff.cpp and info.cpp.
//
// Locks, outermost first; whoever holds one may take those after it, never one before it:
//   1. operation_  one snapshot operation, resize, checkpoint or close at a time
//   2. commit leadership (CommitQueue)  one commit or superblock switch of the epoch at a time
//   (reclaim_mutex_ comes here: what commits have freed is made available again, and the gate drained for it)
//   3. gate_       shared by every request, closed for the instant of a cut; not closed across I/O (but see
//                  despite_writers(), which closes it before it leads: whoever leads and then closes it has operation_)
//   4. front_.stripe(v).mutex  one virtual chunk's mapping; held across the I/O of a copy-on-write
//   5. holding_  one thread at a time sees to what is held for a full disk
//   6. leaves: ChangeSet, RecentWrites, ChunkAllocator, Quarantine, SnapshotDirectory, superblock_mutex_
#ifndef FVD_IMAGE_IMAGE_IMPL_H_
#define FVD_IMAGE_IMAGE_IMPL_H_

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "backing/base_image.h"
#include "format/header.h"
#include "format/superblock.h"
#include "fvd/image.h"
#include "image/commit_queue.h"
#include "image/held_space.h"
#include "image/journaled_data.h"
#include "image/quarantine.h"
#include "image/recent_writes.h"
#include "image/reclaimer.h"
#include "image/state_io.h"
#include "io/storage.h"
#include "journal/journal.h"
#include "map/bits.h"
#include "map/chunk_allocator.h"
#include "map/freeze_gate.h"
#include "map/front.h"
#include "snapshot/directory.h"
#include "snapshot/refcounts.h"
#include "snapshot/table_capture.h"

namespace fvd {

class ImageImpl final : public Image {
 public:
  ImageImpl(std::unique_ptr<File> file, const format::Header& header, const OpenOptions& options);
  ~ImageImpl() override;

  // open.cpp
  Status recover();
  void start_background();

  void closing() override { storage_.file().closing(); }
  Status close() override;
  [[nodiscard]] std::uint64_t virtual_size() const override { return virtual_size_.load(std::memory_order_acquire); }
  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) override;
  Result<Extent> extent(std::uint64_t offset) override;
  Result<std::size_t> write(std::uint64_t offset, std::span<const std::byte> data) override;
  Status flush() override;
  Status discard(std::uint64_t offset, std::uint64_t length) override;
  Status preallocate(std::uint64_t offset, std::uint64_t length) override;
  Status resize(std::uint64_t new_size, bool allow_shrink) override;
  Result<std::uint64_t> copy_range(SnapshotId source, std::uint64_t src_offset, std::uint64_t dst_offset,
                                   std::uint64_t length) override;

  Result<SnapshotId> snapshot_create(std::string_view name, std::string_view description) override;
  Status snapshot_goto(std::string_view name) override;
  Status snapshot_rename(std::string_view name, std::string_view new_name) override;
  Status snapshot_delete(std::string_view name) override;
  Status snapshot_set_description(std::string_view name, std::string_view description) override;
  Status snapshot_set_hold(std::string_view name, bool hold) override;
  [[nodiscard]] std::vector<SnapshotInfo> snapshots() const override;
  [[nodiscard]] std::optional<SnapshotInfo> find_snapshot(std::string_view name) const override;
  [[nodiscard]] std::optional<SnapshotInfo> find_snapshot(SnapshotId id) const override;
  [[nodiscard]] SnapshotId current_parent() const override;
  Result<std::shared_ptr<StateReader>> open_snapshot(SnapshotId id) override;
  std::vector<Result<std::uint64_t>> snapshots_exclusive(std::span<const SnapshotId> ids) override;
  Result<std::unique_ptr<StateDiff>> open_diff(SnapshotId a, SnapshotId b) override;
  Result<std::unique_ptr<SnapshotImport>> import_snapshot(const ImportOptions& options) override;
  Status flatten(const WorkProgress& progress) override;
  Status compact(const WorkProgress& progress) override;

  [[nodiscard]] ImageInfo info() const override;
  [[nodiscard]] std::uint64_t allocated() const override;
  [[nodiscard]] bool read_only() const override { return read_only_ || failed_.load(std::memory_order_acquire); }
  [[nodiscard]] std::vector<Metric> metrics() const override;

 private:
  friend class SnapshotReader;
  friend class SnapshotImporter;

  // What a write puts into a chunk: bytes, or zeros without any.
  struct Payload {
    std::span<const std::byte> data;  // empty for zeros
    std::uint64_t length = 0;
  };
  class FrontMap;  // StateMap over the front

  // open.cpp
  Status load_superblock();
  Status load_table(const format::ObjectRef& ref, Front& front, const std::string& what);
  Status replay_journal();
  Status put_journaled_data_in_place();
  Status derive_use();

  // read_write.cpp. REQUIRES the gate held shared.
  Status write_pieces(std::uint64_t* offset, std::span<const std::byte>* data);
  Status write_mapped(std::uint32_t v, std::uint64_t offset, const Payload& payload);
  Status write_own_partial(std::uint32_t v, std::uint32_t entry, std::uint64_t offset, const Payload& payload,
                           std::unique_lock<std::mutex>& stripe);
  Status write_new_chunk(std::uint32_t v, std::uint32_t old_entry, std::uint64_t offset, const Payload& payload);
  // Puts `payload` over what `*mapping` names, in a new chunk that nothing refers to yet, and makes *mapping what names
  // the result: that chunk, or none where it is all zeros. On failure nothing is allocated.
  Status build_chunk(std::uint32_t v, std::uint64_t offset, const Payload& payload, Mapping* mapping);
  Status write_in_place(std::uint32_t v, std::uint32_t chunk, std::uint64_t offset, std::span<const std::byte> data);
  Status put(std::uint32_t v, std::uint32_t chunk, std::uint64_t offset, const Payload& payload);
  Status fill_edges(std::uint32_t v, std::uint32_t chunk, std::uint32_t origin, std::span<const std::uint64_t> words,
                    std::uint64_t offset, std::uint64_t length);
  Status copy_blocks(std::uint32_t v, std::uint32_t from_origin, std::uint32_t to_chunk, std::uint64_t offset,
                     std::uint64_t length);
  Result<std::uint32_t> allocate_data(bool must_read_zero);
  Status find_space();  // after kNoSpace: gives back what only waits for it, so that trying again makes sense
  // Makes `entry` (and, with kPartialFlag, `partial`) the mapping of `v`; its data was written before. The origin of a
  // partial chunk that goes is freed if nothing else reaches it. REQUIRES the stripe of v.
  void publish(std::uint32_t v, std::uint32_t entry, const Mapping* partial = nullptr);
  // publish(), and frees the chunk that was there if it was the front's own. REQUIRES the stripe of v.
  void replace_mapping(std::uint32_t v, std::uint32_t entry, const Mapping* partial = nullptr);
  [[nodiscard]] std::uint32_t unmapped_entry(std::uint32_t v) const;
  Status check_writable() const;

  // space.cpp
  // Before every change of a mapping: check_writable(), and sees to it that the journal, the superblocks and the
  // objects that must be written on a full disk have their space. kNoSpace otherwise: nothing that needs it is
  // acknowledged.
  Status begin_change();
  // As begin_change(), for changes that make the table no longer.
  Status begin_shorter_change();
  Status hold_more_space();
  [[nodiscard]] std::uint64_t table_bound() const;    // bytes: no table object of the front is longer now
  [[nodiscard]] std::uint64_t longest_table() const;  // nor can one of a disk of this size ever be
  [[nodiscard]] std::uint64_t counts_bound() const;   // of the reference counts
  void space_changed();  // after whatever took or gave objects: look at what is held anew. REQUIRES operation_
  bool lend_idle_journal(std::uint64_t bytes);  // REQUIRES operation_

  // discard.cpp
  Status discard_range(std::uint64_t offset, std::uint64_t end, std::uint64_t disk_end);
  Status discard_piece(std::uint32_t v, std::uint64_t offset, std::uint64_t length, std::uint64_t disk_end);
  // Resizing; all REQUIRE operation_.
  Status shrink(std::uint64_t new_size);
  Status grow_over_base(std::uint64_t new_size);
  Status switch_size(std::uint64_t virtual_size);
  Status resize_table(std::uint64_t virtual_size);
  void set_virtual_size(std::uint64_t size);
  Status share_chunk(StateMap& source, std::uint32_t from, std::uint32_t to, bool* shared);
  Status copy_bytes(StateMap& source, std::uint64_t src_offset, std::uint64_t dst_offset, std::uint64_t length);

  // commit.cpp
  // kSoonest: with the data in the journal, where that is less to wait for than a sync of all that was written.
  // kInPlace: nobody waits for it, so nothing is written twice.
  enum class Commit : std::uint8_t { kSoonest, kInPlace };
  CommitQueue::Outcome commit_once(Commit how);
  Status commit_all();                                // REQUIRES operation_; as flush()
  Status run_commit(Commit how, bool* journal_full);  // REQUIRES the leadership
  // REQUIRES the leadership, and a batch begun with the changed mappings. Commits with one write, data and all. False,
  // and nothing is done but that the batch may have more records: it takes run_commit()'s way.
  Result<bool> commit_in_journal(std::vector<RecentWrites::Piece>& pieces);
  // Adds what is in the pieces, which it sorts, to `batch`; false where not all of it is in the front's own chunks any
  // more.
  bool add_data(std::vector<RecentWrites::Piece>& pieces, format::BatchBuilder& batch);
  [[nodiscard]] bool journal_may_hold_data() const;
  void look_how_full();  // REQUIRES the leadership
  [[nodiscard]] std::uint64_t current_epoch() const;
  void add_record(std::uint32_t v, format::BatchBuilder& batch);
  Status checkpoint(bool clean);                          // REQUIRES operation_
  enum class Room : std::uint8_t { kFree, kFreeOrHeld };  // where an object may go
  enum class Writers : std::uint8_t { kGoOn, kHeld };     // while a table is written and switched to
  // REQUIRES operation_. kBusy from an attempt: writers have changed more meanwhile than the journal holds.
  Status despite_writers(const std::function<Status(Writers)>& attempt);
  Status switch_table(std::uint64_t virtual_size, bool clean, Room room, Writers writers);
  class Transaction;  // transaction.h
  // REQUIRES operation_, the leadership, a cut begun, and what `next` refers to on stable storage.
  Status switch_epoch(format::Superblock next);
  Status make_room();                                // REQUIRES operation_. See commit.cpp
  void after_operation();                            // REQUIRES operation_. space_changed(), and give_back_soon()
  void give_back_soon();                             // gives freed chunks back, here or in the background
  Status write_superblock(format::Superblock next);  // REQUIRES operation_
  void set_failed(const Status& why);
  // What is in memory may be half of a change now: turns the image read-only, as a failed sync does.
  Status out_of_memory();
  [[nodiscard]] format::Superblock next_superblock(bool new_epoch);
  // After the switch that dropped it is durable. `directory`: what the object holds, if it is one.
  void free_object(Structure what, const format::ObjectRef& ref,
                   std::shared_ptr<const SnapshotRecords> directory = nullptr);
  void release_freed();  // makes what commits have freed available again
  void reclaim();        // ditto, and gives it back to the host at once; when it returns, so has whoever was at it
  [[nodiscard]] bool object_in_use(Structure what, const format::ObjectRef& ref) const;

  // snapshot_ops.cpp. All REQUIRE operation_.
  Result<SnapshotId> take_snapshot(std::string_view name, std::string_view description, Writers writers);
  Status switch_directory(SnapshotDirectory::Records records, Room room = Room::kFree);
  Status check_new_name(const SnapshotDirectory::Records& records, std::string_view name) const;
  Status delete_record(const format::SnapshotRecord& record, SnapshotDirectory::Records records);
  // Makes the captured table a snapshot, without a cut: nothing of it is the front's. Sets the record's id and table.
  Status add_record(format::SnapshotRecord* record, const TableCapture& capture);
  Result<Bits> reached_by(const format::SnapshotRecord& record);
  [[nodiscard]] Bits reached_by(const TableCapture& capture) const;
  // Calls visit(chunk) for each chunk that the snapshot reaches, as data or origin; for some more than once.
  Status for_each_reached(const format::SnapshotRecord& record, const std::function<void(std::uint32_t)>& visit);

  // info.cpp. REQUIRES operation_.
  Result<Bits> in_one_snapshot_only();  // chunks that one snapshot reaches, and the front does not
  Result<std::uint64_t> take_exclusive(SnapshotId id, Bits* sole);
  // Of chunks that the host has no storage for, `host_allocated` is less than the record tells.
  static SnapshotInfo describe(const format::SnapshotRecord& record, std::uint64_t host_allocated);
  [[nodiscard]] std::uint64_t host_allocated() const;  // bytes of the image file; no limit where that cannot be told

  // settle.cpp: decides what becomes of chunks that no snapshot reaches any more. REQUIRES operation_.
  void settle(Bits candidates);

  // background.cpp
  void background_loop();
  void reclaim_some(std::chrono::steady_clock::time_point until);
  [[nodiscard]] std::uint64_t requests() const;  // how many there were
  void checkpoint_in_time();
  [[nodiscard]] bool wants_commit(std::chrono::milliseconds since) const;
  bool complete_some(std::uint64_t before,
                     const std::function<bool()>& stopping);  // `before`: requests when it was idle
  // Goes on completing one partial chunk, looked for from *cursor on; false when there is none.
  Result<bool> complete_one(std::uint32_t* cursor);
  Status copy_or_zero(std::uint32_t v, std::uint32_t origin, std::uint32_t chunk, std::uint64_t offset,
                      std::uint64_t length);

  // flatten.cpp. All REQUIRE operation_.
  class BaseCopies;
  Status find_uses_of_base(BaseCopies& copies);
  Status copy_base(BaseCopies& copies, const WorkProgress& progress);
  Status switch_off_base(const BaseCopies& copies, Writers writers);
  Result<std::unique_ptr<Front>> load_state(const format::SnapshotRecord& record);

  Storage storage_;
  const format::Header header_;
  const format::Geometry geometry_;
  const OpenOptions options_;
  bool read_only_;
  bool was_clean_ = true;
  bool closed_ = true;  // until recover() succeeds: what could not be read must not be written
  std::atomic<bool> journal_reserved_{false};
  std::atomic<bool> changed_{false};           // a begin_change() has succeeded
  std::atomic<bool> space_stale_{true};        // what must be held is to be found out anew
  std::atomic<bool> deletion_is_held_{false};  // there are snapshots, whose deletion needs space

  std::mutex operation_;
  CommitQueue commits_;
  FreezeGate gate_;
  Front front_;
  ChunkAllocator allocator_;
  Reclaimer reclaimer_;
  HeldSpace held_;
  std::mutex holding_;
  Journal journal_;
  JournalPosition position_;    // guarded by the commit leadership
  format::BatchBuilder batch_;  // ditto
  // The epoch's journal has data that may not be durable in place: what was written there since must go to the journal
  // too, or all be synced and the journal told so. Changed by the commit leader.
  std::atomic<bool> journal_has_data_{false};
  RecentWrites recent_;
  JournaledData journaled_;  // when open read-only: what must be read from the journal
  std::atomic<std::chrono::steady_clock::time_point> last_commit_{};
  // Whose journal is so full that the background should begin another.
  std::atomic<std::uint64_t> filling_epoch_{UINT64_MAX};
  Quarantine quarantine_;
  std::mutex reclaim_mutex_;  // what was taken out of the quarantine is free again
  SnapshotDirectory directory_;
  std::unique_ptr<BaseImage> base_;            // changed under operation_ with the gate closed
  std::unique_ptr<BaseImage> flattened_base_;  // the one that was cut loose
  std::atomic<std::uint64_t> virtual_size_{0};

  mutable std::mutex superblock_mutex_;
  format::Superblock superblock_;  // changed under operation_, read under superblock_mutex_
  std::string failure_;            // why the image turned read-only; under superblock_mutex_
  std::atomic<bool> failed_{false};
  const Status no_memory_{Code::kIo, "there is no memory for what was begun", ENOMEM};
  std::vector<std::uint32_t> unsettled_;  // chunks named twice by the front; under operation_
  std::uint32_t completion_cursor_ = 0;   // background thread only
  bool reclaiming_ = false;               // ditto: there was no time to give everything back

  std::thread background_;
  std::mutex background_mutex_;
  std::condition_variable background_wake_;
  bool stop_ = false;

  std::atomic<std::uint64_t> guest_reads_{0}, guest_read_bytes_{0}, guest_writes_{0}, guest_write_bytes_{0};
  std::atomic<std::uint64_t> guest_flushes_{0}, guest_discard_bytes_{0};
  std::atomic<std::uint64_t> journaled_commits_{0};
  std::atomic<std::uint64_t> commits_count_{0}, checkpoints_{0}, completed_chunks_{0}, copied_bytes_{0};
  std::atomic<std::uint64_t> partial_chunks_{0};
};

}  // namespace fvd

#endif  // FVD_IMAGE_IMAGE_IMPL_H_
