// Image: one FVD image file (or block device), its writable current-state and its tree of snapshots.
//
// This is the whole engine behind a mount, usable without one. Offsets and lengths are bytes.
//
// Threads: every method may be called from any thread at any time, except create/open/close/destruction.
// Reads and writes run in parallel; operations on snapshots are serialised among themselves and stop writers
// only for the moment of the cut (memory speed over the lookup table, no I/O).
//
// Durability, in one sentence each:
//   process death  - what write() returned survives but for at most the last commit interval (default 0.5 s);
//   power loss     - what was written before the last successful flush() survives; each 512-byte sector written since
//                    then reads as its old or its new content; a snapshot operation that returned success has
//                    happened, one that did not return has happened wholly or not at all.
#ifndef FVD_IMAGE_H_
#define FVD_IMAGE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fvd/status.h"

namespace fvd {

class File;  // src/io/file.h: the seam where tests put a failing disk under an image

// Number of a snapshot within its image; never reused. 0 means "none".
using SnapshotId = std::uint32_t;

inline constexpr std::uint32_t kDefaultChunkSize = 1U << 20;
inline constexpr std::uint32_t kDefaultBlockSize = 4096;
inline constexpr std::uint64_t kSectorSize = 512;
inline constexpr std::size_t kMaxSnapshots = 65535;
inline constexpr std::size_t kMaxNameBytes = 255;
inline constexpr std::size_t kMaxDescriptionBytes = 4096;

struct CreateOptions {
  std::uint64_t virtual_size = 0;                // bytes; rounded up to 512; 512 B to 64 TiB; 0 with a base = its size
  std::uint32_t chunk_size = kDefaultChunkSize;  // bytes; power of two, 64 KiB to 64 MiB
  std::uint32_t block_size = kDefaultBlockSize;  // bytes; power of two, 512 to chunk_size, at most 16,384 per chunk
  bool overwrite = false;                        // replace an existing file or a block device's content
  std::uint32_t journal_half_size = 0;           // bytes, multiple of 4096; 0 = chosen by virtual size, 1 to 16 MiB
  std::string base_path;                         // base image; "" = none
  std::string base_format;                       // "raw" or ""
};

struct OpenOptions {
  bool read_only = false;
  bool force_share = false;  // read-only only: open although another process writes the image
  // Read-only only: open although the base image cannot be opened. What would be read from it fails with the reason,
  // which is ImageInfo::base_error; all else works.
  bool without_base = false;
  // Mappings not yet durable are committed this often without flush(); 0 = only by flush() and close().
  std::chrono::milliseconds commit_interval{500};
  // Partial chunks of the current-state are completed in the background after this long without requests; 0 = never.
  std::chrono::milliseconds completion_idle{10000};
  // Called once, from whatever thread it happens in, when a failure turns the image read-only; may be empty. Must not
  // call the image.
  std::function<void(const Status& why)> on_failure{};
};

struct SnapshotInfo {
  SnapshotId id = 0;
  SnapshotId parent = 0;  // 0 = root of a tree
  std::string name;
  std::string description;
  std::int64_t created_seconds = 0;  // since 1970-01-01 UTC
  std::uint32_t created_nanoseconds = 0;
  std::uint64_t virtual_size = 0;
  std::uint64_t allocated = 0;  // bytes of the image that this state reaches; never more than the host allocated
  bool held = false;
};

struct ImageInfo {
  std::string path;
  std::string uuid;  // 8-4-4-4-12 hex; "" in version 1
  std::uint32_t format_version = 2;
  std::uint64_t chunk_size = 0;      // 0 in version 1 without a lookup table
  std::uint64_t block_size = 0;      // 0 in version 1 without a base image
  std::uint64_t virtual_size = 0;    // of current-state
  SnapshotId parent = 0;             // of current-state
  std::uint64_t allocated = 0;       // bytes that current-state reaches
  std::uint64_t file_size = 0;       // apparent size of the image
  std::uint64_t host_allocated = 0;  // bytes that the host has allocated to it (st_blocks)
  std::uint64_t chunks_total = 0;    // physical chunks the file has room for
  std::uint64_t chunks_used = 0;     // of which in use, as data or metadata
  std::uint64_t partial_chunks = 0;  // of current-state
  std::uint64_t journal_size = 0;    // bytes, both halves
  bool was_clean = true;             // closed cleanly before this open
  bool read_only = false;
  bool is_block_device = false;
  std::string error;                  // why the image turned read-only; "" while all is well
  std::vector<std::string> features;  // names of the feature bits that are set
  std::string base_path;              // "" = no base image
  std::string base_format;
  std::uint64_t base_size = 0;
  std::string base_error;  // why the base image could not be opened; "" while it is there
  std::string data_path;   // version 1 only: the file that holds the data; "" = the image itself
};

// What a new image takes on the host, in bytes; see Image::measure().
struct ImageMeasure {
  std::uint64_t required = 0;         // with the data that was asked for
  std::uint64_t fully_allocated = 0;  // with every byte of the disk written
};

// One counter or gauge of Image::metrics().
struct Metric {
  std::string name;  // Prometheus name, for example fvd_refcount_read_bytes_total
  std::string help;
  std::string labels;  // "" or for example structure="journal"
  bool counter = true;
  std::uint64_t value = 0;
};

// A run of bytes of a state with one answer to "is there data?", and to where it lies.
struct Extent {
  enum class Place : std::uint8_t { kNowhere, kImage, kBase };

  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool data = false;              // false = reads as zeros without being allocated by the host
  Place place = Place::kNowhere;  // the file that the bytes lie in, all together; a hole may lie in an allocated chunk
  std::uint64_t file_offset = 0;  // where in it; 0 for kNowhere
};

// A disk state that can be read: a snapshot, or the current-state. Thread-safe.
class StateReader {
 public:
  virtual ~StateReader() = default;
  [[nodiscard]] virtual std::uint64_t virtual_size() const = 0;
  // Fills `out` from `offset`. Returns the bytes read: fewer than asked only at the end of the disk, 0 past it.
  virtual Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) = 0;
  // The extent that starts at `offset`, as long as one lookup can tell (callers join neighbours), cut at the end of the
  // disk. kInvalid at or past the end.
  virtual Result<Extent> extent(std::uint64_t offset) = 0;
  // First offset >= `offset` that holds data (or is a hole); the end of the disk counts as a hole.
  // kNotFound when there is none.
  Result<std::uint64_t> seek_data(std::uint64_t offset);
  Result<std::uint64_t> seek_hole(std::uint64_t offset);
};

// Where two states differ, told from metadata alone. Never misses a difference; may report one where the content is
// equal (the same bytes written twice), at worst a block at a time. A disk that is smaller counts as followed by zeros.
// A write to current-state meanwhile may be seen or not. Thread-safe. No snapshot of it can be deleted while it lives,
// and it must not outlive the image.
class StateDiff {
 public:
  struct Run {
    std::uint64_t offset = 0;  // bytes
    std::uint64_t length = 0;  // bytes
    bool differs = false;
  };
  virtual ~StateDiff() = default;
  // Bytes: of the larger disk.
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  // The run that starts at `offset`, as long as one lookup can tell (callers join neighbours), cut at size(). kInvalid
  // at or past that.
  virtual Result<Run> run(std::uint64_t offset) = 0;
};

struct ImportOptions {
  std::string name;
  std::string description;
  std::uint64_t virtual_size = 0;    // bytes; multiple of 512
  std::int64_t created_seconds = 0;  // since 1970-01-01 UTC
  std::uint32_t created_nanoseconds = 0;
  SnapshotId parent = 0;  // 0 = root of a tree
  SnapshotId base = 0;    // the snapshot whose content it begins with (zeros past that one's end); 0 = zeros
};

// A snapshot that is built from outside, beside current-state and all other work on the image; see
// Image::import_snapshot(). Nothing of it can be seen before commit(); destroyed without that, it leaves nothing, and
// so does a crash. Base and parent cannot be deleted while it lives. Thread-safe; one that was not committed must be
// destroyed before the image is closed.
class SnapshotImport {
 public:
  virtual ~SnapshotImport() = default;
  // The snapshot holds `data` at `offset`. kInvalid when the range is not within its virtual size. On failure any part
  // may have been written; it can be tried again.
  virtual Status write(std::uint64_t offset, std::span<const std::byte> data) = 0;
  // The range reads as zeros. The same errors.
  virtual Status discard(std::uint64_t offset, std::uint64_t length) = 0;
  // Makes it a snapshot of the image, durable and all-or-nothing as every snapshot operation, and ends the import.
  // kExists, kTooMany, kNoSpace: nothing has happened, it can be tried again.
  virtual Result<SnapshotId> commit() = 0;
};

class Image : public StateReader {
 public:
  // Makes a new image at `path`. Fails with kExists where a file is (unless options.overwrite) and leaves it untouched;
  // a file that was made but could not be finished is removed. On success the image is on stable storage.
  static Status create(const std::string& path, const CreateOptions& options);
  // At most how large the file of an image made with these options is, without snapshots, once data was written to
  // `data_chunks` of its chunks (all of them for kAllChunks or more) and it was closed. Errors as create(); touches
  // nothing but the base, whose size is asked for.
  static constexpr std::uint64_t kAllChunks = ~std::uint64_t{0};
  static Result<ImageMeasure> measure(const CreateOptions& options, std::uint64_t data_chunks);
  // Opens an image; recovers it first if it was not closed cleanly (replays the journal, no repair step, nothing
  // written until something changes). kLocked when another process has it open; kCorrupt or kUnsupported with the
  // reason when it cannot be trusted or served. An image of version 1 is opened for reading only, and writes nothing:
  // kReadOnly when more is asked for, before anything else is. The image is locked against other opens until close() or
  // destruction.
  static Result<std::unique_ptr<Image>> open(const std::string& path, const OpenOptions& options);
  // As above on files of the caller's, for tests; the image owns the file. No locking.
  static Status create_on(File& file, const CreateOptions& options);
  static Result<std::unique_ptr<Image>> open_on(std::unique_ptr<File> file, const OpenOptions& options);

  // Makes an image of version 1 one of version 2, in place: data stays where it is, its journal is replayed, its base
  // image stays its base. True when that was done, false for an image that is of version 2 already, which is not
  // touched. All or nothing with respect to power loss; durable when it returns. kUnsupported where it cannot be done
  // in place (`fvd convert -O fvd` makes a new image), kLocked when another process has the image open, kNoSpace, and
  // what open() returns. On failure the image holds what it held.
  static Result<bool> upgrade(const std::string& path);
  static Result<bool> upgrade_on(std::unique_ptr<File> file);  // for tests; no locking

  ~Image() override = default;  // closes as close() does and drops its Status
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  // Commits everything, writes a checkpoint and marks the image clean; further calls but destruction are not allowed.
  // On failure nothing acknowledged as durable is lost and the next open recovers.
  virtual Status close() = 0;
  // Who opens the image from here on waits for close() to end. To be called as soon as it is certain to come.
  virtual void closing() {}

  // --- current-state ---------------------------------------------------------------------------------------------
  // Writes `data` at `offset`. kNoSpace when offset is at or past the end of the disk; returns the bytes written, fewer
  // than given only at the end. On failure any prefix of the range may have been written. Visible to read() at once.
  virtual Result<std::size_t> write(std::uint64_t offset, std::span<const std::byte> data) = 0;
  // Makes every write that had returned before the call durable. Concurrent calls share one commit.
  virtual Status flush() = 0;
  // The range reads as zeros afterwards; whole chunks are given back, the rest is zeroed. Clipped at the end of the
  // disk. Durable after flush(), like a write.
  virtual Status discard(std::uint64_t offset, std::uint64_t length) = 0;
  // Allocates chunks for the parts of the range that have none and reserves host space for them.
  virtual Status preallocate(std::uint64_t offset, std::uint64_t length) = 0;
  // Sets the virtual size (a multiple of 512, else kInvalid). Growing adds zeros. Shrinking gives up what is cut off
  // and is kNotPermitted unless `allow_shrink`. Durable when it returns.
  virtual Status resize(std::uint64_t new_size, bool allow_shrink) = 0;
  // Copies [src_offset, +length) of snapshot `source` (0 = current-state) over current-state at dst_offset, sharing
  // chunks instead of copying where both lie alike in their chunks and a snapshot holds them. Returns the bytes copied,
  // cut at the end of either disk. kInvalid when ranges of one state overlap.
  virtual Result<std::uint64_t> copy_range(SnapshotId source, std::uint64_t src_offset, std::uint64_t dst_offset,
                                           std::uint64_t length) = 0;

  // --- snapshots: all durable and all-or-nothing when they return -------------------------------------------------
  // Takes a snapshot of current-state: holds every write that returned before the call. kExists, kInvalid (empty name,
  // '/', control characters, not UTF-8, ".", "..", "current-state"; the last is kExists), kNameTooLong, kTooMany,
  // kNoSpace.
  virtual Result<SnapshotId> snapshot_create(std::string_view name, std::string_view description = {}) = 0;
  // Makes current-state a copy of the snapshot and its child; what current-state held since its last snapshot is given
  // up. The caller sees to it that nobody relies on the old content (writes in flight land before or are given up).
  virtual Status snapshot_goto(std::string_view name) = 0;
  virtual Status snapshot_rename(std::string_view name, std::string_view new_name) = 0;
  // Deletes; children become children of its parent. kBusy while it is held or a reader of it is open.
  virtual Status snapshot_delete(std::string_view name) = 0;
  virtual Status snapshot_set_description(std::string_view name, std::string_view description) = 0;
  virtual Status snapshot_set_hold(std::string_view name, bool hold) = 0;

  [[nodiscard]] virtual std::vector<SnapshotInfo> snapshots() const = 0;  // in the order in which they came
  [[nodiscard]] virtual std::optional<SnapshotInfo> find_snapshot(std::string_view name) const = 0;
  [[nodiscard]] virtual std::optional<SnapshotInfo> find_snapshot(SnapshotId id) const = 0;
  [[nodiscard]] virtual SnapshotId current_parent() const = 0;
  // Opens a snapshot for reading; deletion answers kBusy until the reader is gone. The reader must not outlive the
  // image.
  virtual Result<std::shared_ptr<StateReader>> open_snapshot(SnapshotId id) = 0;
  // Bytes of chunks that only this snapshot reaches: what deleting it would free. Reads the reference counts. For many
  // snapshots the second is faster; it has one answer for each, in their order. REQUIRES that none is asked for twice.
  Result<std::uint64_t> snapshot_exclusive(SnapshotId id) { return snapshots_exclusive(std::span(&id, 1)).front(); }
  virtual std::vector<Result<std::uint64_t>> snapshots_exclusive(std::span<const SnapshotId> ids) = 0;
  // The difference of two states, 0 = current-state. kNotFound when there is no such snapshot.
  virtual Result<std::unique_ptr<StateDiff>> open_diff(SnapshotId a, SnapshotId b) = 0;
  // Calls differs(offset, length) for each range, ascending and not touching each other, in which the two states may
  // differ, as open_diff() tells. Its errors, and kBusy while a snapshot is being deleted. `differs` may call the
  // image.
  Status diff(SnapshotId a, SnapshotId b,
              const std::function<void(std::uint64_t offset, std::uint64_t length)>& differs);
  // Begins to build a snapshot aside. Errors as of snapshot_create(), and kNotFound for the parent or base, kInvalid
  // for a size or time that cannot be.
  virtual Result<std::unique_ptr<SnapshotImport>> import_snapshot(const ImportOptions& options) = 0;

  // --- care: for an image that nobody waits for; a flush may have to wait until they return
  // --------------------------- Called in the caller's thread with how many bytes of the work are done, and how many
  // there are; false asks for the end. Must not call the image.
  using WorkProgress = std::function<bool(std::uint64_t done, std::uint64_t total)>;
  // Copies into the image what any of its states shows of the base image, and cuts the base loose. No state changes.
  // All or nothing, and durable when it returns: until then the image needs its base, after that it does not. Success
  // at once without a base. kBusy when it was asked to end, or while a snapshot is open; kNoSpace.
  virtual Status flatten(const WorkProgress& progress = {}) = 0;
  // Completes the partial chunks of current-state's own, so that they are read in one piece, gives all free chunks back
  // to the host and cuts off the end of the file that nothing uses (neither on a block device). What was done stays
  // when it fails or is asked to end (kBusy). Durable when it returns.
  virtual Status compact(const WorkProgress& progress = {}) = 0;

  // --- about it -----------------------------------------------------------------------------------------------------
  [[nodiscard]] virtual ImageInfo info() const = 0;
  [[nodiscard]] virtual std::uint64_t allocated() const = 0;  // cheap info().allocated
  [[nodiscard]] virtual bool read_only() const = 0;           // opened so, or turned so by a failure
  [[nodiscard]] virtual std::vector<Metric> metrics() const = 0;

 protected:
  Image() = default;
};

}  // namespace fvd

#endif  // FVD_IMAGE_H_
