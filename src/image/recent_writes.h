// RecentWrites: where small writes went since the last commit, so that it can put their data into the journal instead
// of syncing the whole image.
//
// A few are remembered; of more than that, or larger ones, only that there were some, and then the commit syncs.
// Whoever writes adds after the data was written and before the mapping that shows it is marked as changed, or, where
// none changes, before the write returns. So whoever takes the mappings first and then this has every write that a
// mapping it took shows, and every one that had returned. Thread-safe; once much was written, adding is one atomic
// load.
#ifndef FVD_IMAGE_RECENT_WRITES_H_
#define FVD_IMAGE_RECENT_WRITES_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace fvd {

class RecentWrites {
 public:
  struct Piece {
    std::uint32_t virtual_chunk = 0;
    std::uint32_t chunk = 0;   // where the data is
    std::uint32_t offset = 0;  // bytes, within the chunk
    std::uint32_t length = 0;  // bytes
  };

  // At most `most_bytes` are remembered.
  explicit RecentWrites(std::uint64_t most_bytes) : most_bytes_(most_bytes), too_many_(most_bytes == 0) {
    pieces_.reserve(most_bytes == 0 ? 0 : kMostPieces);
  }

  // A write to some virtual chunks, as long as it lasts.
  class InFlight {
   public:
    InFlight(RecentWrites& all, std::uint32_t first, std::uint32_t last) : all_(all), first_(first), last_(last) {
      for (std::uint32_t v = first_; v <= last_; ++v) all_.lane(v).begun.fetch_add(1);
    }
    InFlight(RecentWrites& all, std::uint32_t virtual_chunk) : InFlight(all, virtual_chunk, virtual_chunk) {}
    ~InFlight() {
      for (std::uint32_t v = first_; v <= last_; ++v) all_.lane(v).done.fetch_add(1);
    }
    InFlight(const InFlight&) = delete;
    InFlight& operator=(const InFlight&) = delete;

   private:
    RecentWrites& all_;
    const std::uint32_t first_;
    const std::uint32_t last_;
  };
  // Calls read() at a time in which nobody writes to the virtual chunk, so that it sees each sector as one write left
  // it. False when there is no such time soon, or read() is false.
  template <typename Read>
  bool undisturbed(std::uint32_t virtual_chunk, Read&& read) {
    Lane& lane = this->lane(virtual_chunk);
    for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
      const std::uint32_t done = lane.done.load();
      const std::uint32_t begun = lane.begun.load();
      if (begun == done) {
        if (!read()) return false;
        if (lane.begun.load() == begun) return true;
      }
      std::this_thread::yield();
    }
    return false;
  }

  void add(std::uint32_t virtual_chunk, std::uint32_t chunk, std::uint64_t offset, std::uint64_t length) {
    if (too_many_.load(std::memory_order_acquire)) return;
    const std::lock_guard lock(mutex_);
    if (pieces_.size() == kMostPieces || length > most_bytes_ - bytes_) {
      too_many_.store(true, std::memory_order_release);
      return;
    }
    bytes_ += length;
    pieces_.push_back({virtual_chunk, chunk, static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(length)});
  }

  // What was written since the last call; nullopt: more than is remembered. REQUIRES that the caller then makes all of
  // it durable, or says with forget() that it did not.
  std::optional<std::vector<Piece>> take() {
    const std::lock_guard lock(mutex_);
    std::optional<std::vector<Piece>> taken;
    if (!too_many_.load(std::memory_order_relaxed)) taken.emplace(pieces_);
    pieces_.clear();
    bytes_ = 0;
    too_many_.store(most_bytes_ == 0, std::memory_order_release);
    return taken;
  }
  // The next take() tells of no pieces.
  void forget() { too_many_.store(true, std::memory_order_release); }
  // Nothing was written since the last take().
  [[nodiscard]] bool empty() const {
    const std::lock_guard lock(mutex_);
    return pieces_.empty() && !too_many_.load(std::memory_order_relaxed);
  }

 private:
  static constexpr std::size_t kMostPieces = 256;
  static constexpr std::size_t kLanes = 64;
  static constexpr int kMostAttempts = 20;
  struct alignas(64) Lane {
    std::atomic<std::uint32_t> begun{0};
    std::atomic<std::uint32_t> done{0};
  };
  Lane& lane(std::uint32_t virtual_chunk) { return lanes_[virtual_chunk % kLanes]; }

  std::array<Lane, kLanes> lanes_;

  const std::uint64_t most_bytes_;
  mutable std::mutex mutex_;
  std::vector<Piece> pieces_;
  std::uint64_t bytes_ = 0;
  std::atomic<bool> too_many_;
};

}  // namespace fvd

#endif  // FVD_IMAGE_RECENT_WRITES_H_
