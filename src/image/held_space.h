// HeldSpace: room set aside for the objects that must be written even when the host has no space left: the base table
// of a checkpoint (or a flush could not empty the journal), and the reference counts and the directory of a deletion
// (or a full disk could not be relieved).
//
// Held are runs of chunks that nothing else can be allocated in, with the host's storage reserved under them. An object
// goes there only when no other place can be found; the object that it replaces is then held in its stead. A directory
// always goes there if it can: two places take turns, and of the new one only what differs from the last but one is
// written. Nothing on the disk tells of it: to a reader these chunks are free. Thread-safe; the lock is one outside
// ChunkAllocator's and superblock_mutex_, and covers one reservation by the host.
#ifndef FVD_IMAGE_HELD_SPACE_H_
#define FVD_IMAGE_HELD_SPACE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "format/layout.h"
#include "fvd/status.h"
#include "io/storage.h"
#include "map/chunk_allocator.h"
#include "snapshot/records.h"

namespace fvd {

class HeldSpace {
 public:
  struct Run {
    std::uint32_t first = 0;
    std::uint32_t chunks = 0;
    std::uint64_t reserved = 0;  // bytes from its start that the host has storage for
    // The directory that lies in it, on stable storage since it was in use; none: it may hold anything.
    std::shared_ptr<const SnapshotRecords> directory = nullptr;
  };

  HeldSpace(Storage& storage, const format::Geometry& geometry, ChunkAllocator& allocator)
      : storage_(storage), geometry_(geometry), allocator_(allocator) {}

  // The longest object of the kind for which as many runs are held as were asked for last. One atomic load.
  [[nodiscard]] std::uint64_t capacity(Structure what) const {
    return pool(what).capacity.load(std::memory_order_acquire);
  }
  // Sees to it that `runs` runs of at least `bytes` are held. On failure (kNoSpace) what was held before still is.
  Status hold(Structure what, std::uint64_t bytes, std::uint32_t runs);
  // Reserves `bytes` from the start of the object at chunk `first`, which is in use and `length` bytes long, so that it
  // can be held as a run of that length once nothing refers to it. kNoSpace too where its chunks are too few. Whoever
  // cannot rule out that it is being replaced says with `in_use` whether it was not yet; take_back() comes after that.
  Status reserve_behind(Structure what, std::uint32_t first, std::uint64_t length, std::uint64_t bytes,
                        const std::function<bool()>& in_use = nullptr);
  // Lends a run for an object of `bytes`. kNoSpace when there is none. capacity() stays as it is until update().
  Result<Run> lend(Structure what, std::uint64_t bytes);
  // Takes the chunks of an object that nothing refers to: the whole run where the object was lent one and update() was
  // not called since, else only if fewer runs than asked for are held. False where they are not taken.
  bool take_back(Structure what, const Run& run);
  [[nodiscard]] std::uint32_t chunks() const;  // in all runs
  // An operation is over, and no other goes on: what is lent still is an object's; capacity() tells anew. A table or
  // directory keeps all of its run, to be held again once it is replaced, reference counts only what they need.
  void update();
  // Gives everything back to the host, also what lies behind an object in use. False if nothing was held in runs.
  bool release();

 private:
  // A run with an object of `used` bytes at its start.
  struct Lent {
    Run run;
    std::uint64_t used = 0;
  };
  struct Pool {
    std::vector<Run> runs;
    std::vector<Lent> lent;
    Lent live;  // the object in use, if more than that is reserved; first == 0: none
    std::uint32_t wanted = 0;
    std::atomic<std::uint64_t> capacity{0};
  };
  [[nodiscard]] const Pool& pool(Structure what) const { return pools_[static_cast<std::size_t>(what)]; }
  Pool& pool(Structure what) { return pools_[static_cast<std::size_t>(what)]; }
  static void update(Pool& pool);
  Status reserve(std::uint32_t first, std::uint64_t from, std::uint64_t to);
  void punch(std::uint32_t first, std::uint64_t from, std::uint64_t to);
  Status make_run(Structure what, std::uint64_t bytes, Run* run);
  void give_back(const Run& run);
  void give_back_behind(const Lent& object);

  Storage& storage_;
  const format::Geometry& geometry_;
  ChunkAllocator& allocator_;
  mutable std::mutex mutex_;
  std::array<Pool, kStructureNames.size()> pools_;
};

}  // namespace fvd

#endif  // FVD_IMAGE_HELD_SPACE_H_
