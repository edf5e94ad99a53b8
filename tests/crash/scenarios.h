// The operations whose every I/O is cut or failed in turn, and the image that they start from.
#ifndef FVD_TESTS_CRASH_SCENARIOS_H_
#define FVD_TESTS_CRASH_SCENARIOS_H_

#include <functional>
#include <string>
#include <vector>

#include "support/tracked_image.h"

namespace fvd::test {

struct Scenario {
  std::string name;
  std::function<Verdict(TrackedImage&)> act;
  bool from_unclean = false;    // starts from an image whose process was killed, so that opening recovers
  bool over_base = false;       // starts from image_over_base()
  bool long_directory = false;  // starts from image_of_long_directory()
};

// Chunks of current-state in the image that starting_image() makes; all of it is synced.
enum StartChunk : std::uint64_t {
  kOwnedComplete = 0,
  kOwnedPartial = 1,  // over zeros
  kSharedComplete = 2,
  kSharedPartial = 3,
  kEmptyChunk = 4,
  kOwnedOverShared = 5,  // partial, its origin is a chunk of a snapshot
  kDiscarded = 6,
};
inline constexpr std::uint64_t kStartSize = 10 * kSmallChunk + 3 * kSectorSize;

// kSmall: a checkpoint comes after some dozen commits; kTwoBatches: nearly every operation checkpoints.
enum class JournalSize : std::uint8_t { kDefault, kSmall, kTwoBatches };

// At rest (closed): snapshots s4 (held) -> s1 -> s2 -> current-state, s1 -> s3 (a leaf).
const TrackedImage& starting_image(JournalSize journal = JournalSize::kDefault);
// The same after more synced work and a kill: the journal holds what the tables do not.
const TrackedImage& unclean_image(JournalSize journal = JournalSize::kDefault);
// At rest, over a base image: snapshots s1 -> s2 -> current-state and s3 (a leaf of s1), each of which shows the base
// in whole chunks, and in blocks under partial chunks of its own and shared ones.
const TrackedImage& image_over_base(JournalSize journal = JournalSize::kDefault);
// As starting_image(), with descriptions that make the snapshot directory several pages long.
const TrackedImage& image_of_long_directory(JournalSize journal = JournalSize::kDefault);
// The one that the scenario starts from.
const TrackedImage& start_of(const Scenario& scenario, JournalSize journal = JournalSize::kDefault);
// A synced image, killed one commit before its journal calls for a checkpoint.
const TrackedImage& image_before_checkpoint();

const std::vector<Scenario>& scenarios();

// Runs `steps` until one goes wrong or the power is gone.
Verdict run_steps(TrackedImage& image, const std::vector<std::function<Verdict(TrackedImage&)>>& steps);

}  // namespace fvd::test

#endif  // FVD_TESTS_CRASH_SCENARIOS_H_
