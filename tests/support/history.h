// Random histories of operations on an image, and a shrinker for those that fail. history_runner.h runs them on the
// library, tests/mount/model_test.cpp on a mount.
//
// A step holds raw random numbers that are reduced by what the image holds when the step is applied, so any
// subsequence of a history is a history too. That is what the shrinker relies on.
#ifndef FVD_TESTS_SUPPORT_HISTORY_H_
#define FVD_TESTS_SUPPORT_HISTORY_H_

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fvd/image.h"
#include "support/verdict.h"

namespace fvd::test {

struct Step {
  enum class Kind : std::uint8_t {
    kWrite,
    kRead,
    kDiscard,
    kPreallocate,
    kFlush,
    kSynced,  // a few small writes, most of them flushed
    kCopy,
    kResize,
    kCreate,
    kGoto,
    kDelete,
    kRename,
    kDescribe,
    kHold,
    kImport,  // builds a snapshot from outside; a mount has no such call
    kCompact,
    kReopen,
    kCompare,
    kCut,    // arms a power cut some operations ahead; comes due at the next kCut or the end at the latest
    kKill,   // the process dies
    kError,  // arms an EIO, once
  };
  Kind kind = Kind::kWrite;
  std::array<std::uint64_t, 4> random{};
};

const char* kind_name(Step::Kind kind);

using History = std::vector<Step>;

struct HistoryOptions {
  std::size_t steps = 100;
  bool cuts = false;    // power cuts and kills
  bool errors = false;  // EIO
};

History random_history(std::uint64_t seed, const HistoryOptions& options);

// Geometry drawn from the seed: 64 or 128 KiB chunks, 512-byte to 16 KiB blocks, an odd size of a few chunks; now and
// then chunks of 1 MiB and a disk of several.
CreateOptions random_geometry(std::uint64_t seed);

// What a step reads, writes, discards or copies, on a disk of `size` bytes: odd, sector, block and chunk alignments, a
// byte to several MiB, now and then across the end.
struct StepRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};
StepRange range_of(const Step& step, std::uint64_t size);

// What a step of kSynced writes, on a disk of `size`: mostly into the same few blocks, so that what the journal holds
// is written again.
struct SyncedWrite {
  StepRange range;
  std::uint64_t seed = 0;
  bool flushed = false;
};
std::vector<SyncedWrite> synced_writes_of(const Step& step, std::uint64_t size);

// A shorter history that still fails `run` (which returns "" for success), found by leaving out runs of steps.
History shrink(History history, const std::function<Verdict(const History&)>& run);

std::string describe(const History& history);

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_HISTORY_H_
