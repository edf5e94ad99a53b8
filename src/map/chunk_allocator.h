// ChunkAllocator: which physical chunks are in use, and which of the free ones are known to read as zeros.
//
// A bit each a chunk, derived at open and kept in memory only; there is no free map on disk. Allocation prefers chunks
// that lie one after the other and grows the file in steps when nothing is free. A chunk that is freed must pass the
// image's quarantine first (design invariant 4); release() is the end of it. Thread-safe; the lock covers memory work
// and, when the file grows, one ftruncate.
#ifndef FVD_MAP_CHUNK_ALLOCATOR_H_
#define FVD_MAP_CHUNK_ALLOCATOR_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "format/layout.h"
#include "fvd/status.h"
#include "io/file.h"
#include "map/bits.h"

namespace fvd {

class ChunkAllocator {
 public:
  ChunkAllocator(File& file, const format::Geometry& geometry) : file_(file), geometry_(geometry) {}

  // Starts with what recovery found: the chunks that the file holds, and those of them in use. None of the free ones
  // is known to read as zeros.
  void reset(std::uint32_t chunks_in_file, const Bits& used);

  struct Allocation {
    std::uint32_t first = 0;
    bool reads_zero = false;  // the whole run is known to read as zeros
    bool was_zeroed = false;  // some of it since the image was opened, which may not be durable
  };
  // `count` consecutive chunks. kNoSpace when the file cannot hold them.
  Result<Allocation> allocate(std::uint32_t count = 1);
  // As allocate(), at the end of the file: for what is not to come between the data.
  Result<Allocation> allocate_at_end(std::uint32_t count);
  // One chunk that is known to read as zeros, for which the file grows rather than to take another. kNoSpace when it
  // cannot; a block device never does.
  Result<Allocation> allocate_zeroed();
  // Gives chunks back. `reads_zero`: they have been zeroed, durably so by the next commit.
  void release(std::uint32_t first, std::uint32_t count, bool reads_zero);

  // The file has grown since the last call, which only a sync makes durable.
  bool take_grown() { return grown_.exchange(false, std::memory_order_acq_rel); }

  // Cuts off the free chunks at the end of the file. No effect on a block device.
  Status cut_tail();

  [[nodiscard]] bool is_used(std::uint32_t chunk) const;
  [[nodiscard]] std::uint32_t used() const;
  [[nodiscard]] std::uint32_t chunks_in_file() const { return limit_.load(std::memory_order_relaxed) - 1; }
  [[nodiscard]] std::uint32_t highest_used() const;  // 0 = none
  // Next run of free chunks at or after `from` that may hold data; count 0 when there is none. For giving space back.
  struct Run {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    // In use since the image was opened: may have storage of the host's that was reserved only, and looks like a hole.
    bool was_used = false;
  };
  [[nodiscard]] Run next_unzeroed_run(std::uint32_t from, std::uint32_t max_count) const;
  // The chunks of a free run that are still free now read as zeros; takes them out of circulation while `zero` runs.
  template <typename Zero>
  Status zero_run(Run run, Zero&& zero) {
    {
      const std::lock_guard lock(mutex_);
      for (std::uint32_t c = run.first; c < run.first + run.count; ++c) {
        // Allocated meanwhile: leave the run for a later round. Or cut off meanwhile.
        if (c >= limit_ || bit(used_, c)) return Status::ok();
      }
      for (std::uint32_t c = run.first; c < run.first + run.count; ++c) set(used_, c, true);
      used_count_ += run.count;
    }
    Status s = zero(run);
    release(run.first, run.count, s.is_ok());
    return s;
  }

 private:
  static bool bit(const std::vector<std::uint64_t>& bits, std::uint32_t i) {
    return (bits[i / 64] >> (i % 64) & 1) != 0;
  }
  static void set(std::vector<std::uint64_t>& bits, std::uint32_t i, bool value) {
    const std::uint64_t mask = std::uint64_t{1} << (i % 64);
    bits[i / 64] = value ? bits[i / 64] | mask : bits[i / 64] & ~mask;
  }
  // The first free chunk of [from, to), or the first of those known to read as zeros; 0 = none.
  std::uint32_t find_free(std::uint32_t from, std::uint32_t to, bool zeroed = false) const;
  Allocation take(std::uint32_t first, std::uint32_t count);
  std::uint32_t find_free_run(std::uint32_t count) const;       // 0 = none
  std::uint32_t find_last_free_run(std::uint32_t count) const;  // ditto
  Status grow(std::uint32_t count);                             // at least `count` more chunks

  File& file_;
  const format::Geometry geometry_;
  mutable std::mutex mutex_;
  std::vector<std::uint64_t> used_;      // bit c: chunk c; bit 0 is set and never handed out
  std::vector<std::uint64_t> unzeroed_;  // of free chunks: may hold anything
  std::vector<std::uint64_t> was_used_;  // see Run
  std::vector<std::uint64_t> zeroed_;    // of free chunks: see Allocation::was_zeroed
  std::atomic<std::uint32_t> limit_{1};  // chunks 1..limit_-1 lie in the file; changed under the mutex
  std::atomic<bool> grown_{false};
  std::uint32_t cursor_ = 1;  // where the next search begins
  std::uint32_t used_count_ = 0;
};

}  // namespace fvd

#endif  // FVD_MAP_CHUNK_ALLOCATOR_H_
