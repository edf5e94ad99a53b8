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
    written_[static_cast<std::size_t>(what)].fetch_add(data.size(), std::memory_order_relaxed);
    return file_->write(offset, data);
  }
  // One at a time, and after one that failed all fail: the host tells of what it has lost once, to one caller.
  Status sync() {
    syncs_.fetch_add(1, std::memory_order_relaxed);
    const std::lock_guard lock(syncing_);
    if (sync_failure_.is_ok()) sync_failure_ = file_->sync();
    return sync_failure_;
  }
  Status zero(std::uint64_t offset, std::uint64_t length) {
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
  std::unique_ptr<File> file_;
  std::mutex syncing_;
  Status sync_failure_;
  std::array<std::atomic<std::uint64_t>, kStructureNames.size()> read_{};
  std::array<std::atomic<std::uint64_t>, kStructureNames.size()> written_{};
  std::atomic<std::uint64_t> syncs_{0};
  std::atomic<std::uint64_t> zeroed_{0};
};

}  // namespace fvd

#endif  // FVD_IO_STORAGE_H_
