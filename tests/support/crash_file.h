// A disk in memory that remembers what was not synced, loses power on command, and fails as told.
//
// CrashDisk is the disk: its content, what of it a power cut could still take back, and the fault it was told to play.
// CrashDisk::open() gives handles (fvd::File) on it; CrashDisk::reboot(seed) gives the disk that a machine would find
// after a power cut at this moment. All methods are thread-safe.
//
// The model of power loss: content at the last successful sync is exact. Every later write, zeroing and change of size
// is kept, dropped, or torn at 512-byte boundaries, each for itself. A later change of the same sector may be lost
// while an earlier one is kept, so every reordering that a disk could do is among the outcomes. The call that was in
// flight at the cut is one of these changes. A sync that was in flight has promised nothing. A durable write makes its
// own range exact and no other change.
#ifndef FVD_TESTS_SUPPORT_CRASH_FILE_H_
#define FVD_TESTS_SUPPORT_CRASH_FILE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "io/file.h"
#include "support/sparse_bytes.h"

namespace fvd::test {

// kSynced is no operation: the hook is called with it before a sync that succeeded returns.
enum class DiskOperation : std::uint8_t { kRead, kWrite, kZero, kReserve, kTruncate, kSync, kSynced };

// What happens at operation number `at`, counted from 1 at arm().
struct Fault {
  enum class Kind : std::uint8_t {
    kNone,
    kCut,         // power is lost during the operation: it and all that follow fail with EIO
    kError,       // EIO; a write may have reached any part of its range, a sync may have lost anything pending
    kNoSpace,     // ENOSPC if the operation would allocate, else nothing happens
    kShortWrite,  // a write stores only its beginning, then EIO; other operations go on undisturbed
  };
  Kind kind = Kind::kNone;
  std::uint64_t at = 0;
  bool forever = false;  // kError, kNoSpace: every operation from `at` on
  bool reads = false;    // kError: count and fail reads instead of all other operations
};

class CrashDisk : public std::enable_shared_from_this<CrashDisk> {
 public:
  static std::shared_ptr<CrashDisk> make(SparseBytes content = {});

  // A new handle. The disk lives as long as any handle.
  std::unique_ptr<File> open();

  // Plays `fault`; its operations are counted from now on. Replaces a fault armed before, does not undo a cut.
  void arm(const Fault& fault);
  void disarm() { arm({}); }
  [[nodiscard]] std::uint64_t operations() const;  // writes, zeros, reserves, truncates and syncs since arm()
  [[nodiscard]] std::uint64_t syncs() const;       // successful ones since creation
  [[nodiscard]] bool is_cut() const;
  [[nodiscard]] bool fault_hit() const;               // since arm()
  [[nodiscard]] DiskOperation hit_operation() const;  // the first that was hit; REQUIRES fault_hit()

  // Writes that would allocate more than this in all fail with kNoSpace.
  void set_capacity(std::uint64_t bytes);
  // Called before each operation, without the lock held.
  void set_hook(std::function<void(DiskOperation)> hook);

  // What a power cut now would leave, one of many outcomes: 0 = nothing unsynced survives, 1 = everything does,
  // 2 = all but the last change, 3 = the last change only, others draw for each change. Leaves this disk alone.
  [[nodiscard]] std::shared_ptr<CrashDisk> reboot(std::uint64_t seed) const;
  // What a killed process leaves: all that was written, as if durable. Leaves this disk alone.
  [[nodiscard]] std::shared_ptr<CrashDisk> clone() const;

 private:
  friend class CrashFile;
  struct Change {
    DiskOperation kind = DiskOperation::kWrite;
    std::uint64_t offset = 0;  // kTruncate: the new size
    std::uint64_t length = 0;
    std::shared_ptr<const std::vector<std::byte>> data;
    std::uint64_t end = 0;  // kWrite: how far it may grow the file
  };
  enum class Outcome : std::uint8_t { kGo, kCutNow, kDead, kFail, kFailNoSpace, kShort };

  Outcome begin(DiskOperation operation, std::uint64_t allocates);
  void note_hit(DiskOperation operation);
  void call_hook(DiskOperation operation);
  Status change(Change change, std::uint64_t allocates);
  void apply_partly(const Change& change);
  void settle(std::uint64_t offset, std::uint64_t end);
  void record(const Change& change, const SparseBytes& after);
  void record_sectors(std::uint64_t offset, std::uint64_t end, std::uint64_t grows_to, const SparseBytes& after);
  static void apply(const Change& change, SparseBytes* to);
  static void apply_torn(const Change& change, std::uint64_t seed, SparseBytes* to);
  static void survive(const std::vector<Change>& changes, std::uint64_t seed, SparseBytes* to);

  mutable std::mutex mutex_;
  SparseBytes durable_;          // at the last sync
  SparseBytes current_;          // what reads see
  std::vector<Change> pending_;  // from durable_ to current_, in whole sectors
  Fault fault_;
  std::uint64_t counted_ = 0;     // operations that fault_.at counts
  std::uint64_t operations_ = 0;  // since arm()
  std::uint64_t total_ = 0;       // since creation: seeds the choices of failing operations
  std::uint64_t syncs_ = 0;
  std::uint64_t capacity_ = UINT64_MAX;
  bool cut_ = false;
  bool hit_ = false;
  DiskOperation hit_operation_ = DiskOperation::kRead;
  std::function<void(DiskOperation)> hook_;
};

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_CRASH_FILE_H_
