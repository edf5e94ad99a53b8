// Storage: a File with a meter. Every access says which structure of the image it serves, so that the metrics can show
// what touched what (above all: that reference counts are untouched between snapshot operations). Thread-safe.
#ifndef FVD_IO_STORAGE_H_
#define FVD_IO_STORAGE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

#include "base/aligned_bytes.h"
#include "fvd/status.h"
#include "io/file.h"

namespace fvd {

enum class Structure : std::uint8_t { kData, kJournal, kTable, kDirectory, kRefcounts, kSuperblock, kHeader };
inline constexpr std::array<const char*, 7> kStructureNames{"data",      "journal",    "table", "directory",
                                                            "refcounts", "superblock", "header"};

class Storage {
 public:
  explicit Storage(std::unique_ptr<File> file) : file_(std::move(file)) {}

  Status read(Structure what, std::uint64_t offset, std::span<std::byte> out) {
    read_[static_cast<std::size_t>(what)].fetch_add(out.size(), std::memory_order_relaxed);
    return file_->read(offset, out);
  }
  Status write(Structure what, std::uint64_t offset, std::span<const std::byte> data) {
    const Status s = write_noted(what, offset, data);
    if (what == Structure::kData) only_a_sync_helps();
    return s;
  }
  // As write(), for a caller that knows what was written and can make that durable without a sync().
  Status write_noted(Structure what, std::uint64_t offset, std::span<const std::byte> data) {
    written_[static_cast<std::size_t>(what)].fetch_add(data.size(), std::memory_order_relaxed);
    const Status s = file_->write(offset, data);
    if (!s) only_a_sync_helps();  // any part of it may have been written
    return s;
  }
  // Durable when it returns, it alone; beside a sync(), which it does not wait for. After a failure, and after a sync()
  // that failed, sync() and this one fail.
  Status write_durably(Structure what, std::uint64_t offset, std::span<const std::byte> data) {
    written_[static_cast<std::size_t>(what)].fetch_add(data.size(), std::memory_order_relaxed);
    return write_durably(offset, data);
  }
  // Durably makes the range hold zeros that the host has storage for.
  Status write_zeros_durably(std::uint64_t offset, std::uint64_t length) {
    zeroed_.fetch_add(length, std::memory_order_relaxed);
    return write_durably(offset, AlignedBytes(length));
  }
  // Data was written, or something zeroed, in a way that nothing but a sync() makes durable.
  void only_a_sync_helps() {
    if (!unsynced_.load(std::memory_order_relaxed)) unsynced_.store(true, std::memory_order_release);
  }
  [[nodiscard]] bool unsynced() const { return unsynced_.load(std::memory_order_acquire); }
  // Whether that was so since the last call. REQUIRES that the caller then sees to it.
  bool take_unsynced() { return unsynced_.exchange(false, std::memory_order_acq_rel); }
  // One at a time, and after one that failed all fail: the host tells of what it has lost once, to one caller.
  Status sync() {
    syncs_.fetch_add(1, std::memory_order_relaxed);
    const std::lock_guard lock(syncing_);
    {
      const std::lock_guard failing(failing_);
      if (!sync_failure_.is_ok()) return sync_failure_;
    }
    const Status s = file_->sync();
    const std::lock_guard failing(failing_);
    if (sync_failure_.is_ok()) sync_failure_ = s;
    return sync_failure_;
  }
  Status zero(std::uint64_t offset, std::uint64_t length) {
    const Status s = give_back(offset, length);
    only_a_sync_helps();
    return s;
  }
  // As zero(), of what nothing refers to.
  Status give_back(std::uint64_t offset, std::uint64_t length) {
    zeroed_.fetch_add(length, std::memory_order_relaxed);
    return file_->zero(offset, length);
  }
  [[nodiscard]] File& file() { return *file_; }
  [[nodiscard]] const File& file() const { return *file_; }

  // Nothing was written or zeroed through this Storage.
  [[nodiscard]] bool untouched() const {
    std::uint64_t sum = zeroed_.load();
    for (const auto& w : written_) sum += w.load();
    return sum == 0;
  }
  [[nodiscard]] std::uint64_t bytes_read(Structure what) const { return read_[static_cast<std::size_t>(what)].load(); }
  [[nodiscard]] std::uint64_t bytes_written(Structure what) const {
    return written_[static_cast<std::size_t>(what)].load();
  }
  [[nodiscard]] std::uint64_t syncs() const { return syncs_.load(); }
  [[nodiscard]] std::uint64_t bytes_zeroed() const { return zeroed_.load(); }

 private:
  Status write_durably(std::uint64_t offset, std::span<const std::byte> data) {
    syncs_.fetch_add(1, std::memory_order_relaxed);
    const Status s = file_->write_durably(offset, data);
    const std::lock_guard lock(failing_);
    if (sync_failure_.is_ok() && !s && s.code() != Code::kNoSpace) sync_failure_ = s;
    return sync_failure_.is_ok() ? s : sync_failure_;
  }

  std::unique_ptr<File> file_;
  std::mutex syncing_;
  std::mutex failing_;
  Status sync_failure_;  // under failing_
  std::array<std::atomic<std::uint64_t>, kStructureNames.size()> read_{};
  std::array<std::atomic<std::uint64_t>, kStructureNames.size()> written_{};
  std::atomic<bool> unsynced_{true};  // whatever came before
  std::atomic<std::uint64_t> syncs_{0};
  std::atomic<std::uint64_t> zeroed_{0};
};

}  // namespace fvd

#endif  // FVD_IO_STORAGE_H_
