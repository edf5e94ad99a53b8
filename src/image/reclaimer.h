// Reclaimer: gives free chunks that hold data back to the host, by zeroing them (punching holes).
//
// The host may keep everyone off the file while it punches, for as long as it takes to free each extent (a discard of
// the device under it, often). So the background does it in steps that a request beside it hardly feels, and rests
// between them while there are requests. A chunk that is being zeroed is out of circulation; all others can be
// allocated again before their turn comes. Not for block devices, where what is data cannot be told. give_some() is for
// one thread, give_all() for any.
#ifndef FVD_IMAGE_RECLAIMER_H_
#define FVD_IMAGE_RECLAIMER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>

#include "format/layout.h"
#include "io/storage.h"
#include "map/chunk_allocator.h"

namespace fvd {

class Reclaimer {
 public:
  using Clock = std::chrono::steady_clock;
  // Called after each step with the time that it took; false ends the work.
  using Rest = std::function<bool(Clock::duration)>;

  Reclaimer(Storage& storage, const format::Geometry& geometry, ChunkAllocator& allocator);

  // Chunks were freed: give_some() has work.
  void look_again() { wanted_.store(true, std::memory_order_release); }
  [[nodiscard]] bool wanted() const { return wanted_.load(std::memory_order_acquire); }

  // Goes on giving back where the last call ended. True at the end of the file: wanted() tells whether to begin anew.
  bool give_some(const Rest& rest);
  // Gives back all there is, without rest; when it returns, nothing is out of circulation. True if that was anything.
  bool give_all();

 private:
  Status give_run(ChunkAllocator::Run run, const Rest& rest, bool* gave);  // kBusy: ended by `rest`

  Storage& storage_;
  const format::Geometry& geometry_;
  ChunkAllocator& allocator_;
  const std::uint32_t most_chunks_;  // of one run
  std::atomic<bool> wanted_{true};   // at open nobody has looked yet
  std::atomic<std::uint64_t> step_;  // bytes zeroed by one call; follows how long the host takes
  std::atomic<int> hurried_{0};      // callers of give_all(): no rest meanwhile
  std::mutex giving_;                // of what give_run() has taken out of circulation
  std::uint64_t punched_to_ = 0;     // in the file: how far a run was when its work was ended; under giving_
  std::uint32_t cursor_ = 1;         // give_some(): the chunk to go on with
};

}  // namespace fvd

#endif  // FVD_IMAGE_RECLAIMER_H_
