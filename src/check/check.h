// check: an independent reader of an image that verifies every structure and count.
//
// It uses io and format only and shares no code with the engine, so that it can be the engine's oracle. It collects all
// damage it can find before it reports, and never trusts a number before it has checked it. Only repair_image() writes.
#ifndef FVD_CHECK_CHECK_H_
#define FVD_CHECK_CHECK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fvd/status.h"

namespace fvd {

class File;

struct CheckFinding {
  enum class Kind : std::uint8_t { kCorruption, kLeak };
  Kind kind = Kind::kCorruption;
  std::string structure;  // "header", "superblock", "journal", "table", "directory", "refcounts", "data"
  std::string message;    // one line: what is wrong, with numbers
};

struct CheckReport {
  std::vector<CheckFinding> findings;  // at most 1,000 are kept
  std::uint64_t corruptions = 0;       // counted beyond the limit too
  std::uint64_t leaks = 0;             // reference counts that are too high, and chunks counted that nothing reaches
  std::uint64_t chunks_total = 0;
  std::uint64_t chunks_used = 0;  // reached by a state or a structure
  std::uint64_t snapshots = 0;
  std::uint64_t journal_records = 0;  // replayed in memory
  bool clean = false;                 // the superblock says that it was closed cleanly
  // As `qemu-img check`: 0 consistent, 2 corrupt, 3 leaked space only.
  [[nodiscard]] int exit_status() const { return corruptions != 0 ? 2 : leaks != 0 ? 3 : 0; }
};

// Called in the caller's thread with how many bytes of metadata were read, and how many there are; may be empty. A
// repair goes through the image once more.
using CheckProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

struct RepairOptions {
  // Gives up what came after the older superblock where the newer one is gone or what it refers to is damaged.
  bool older_superblock = false;
  CheckProgress progress{};
};

struct RepairReport {
  CheckReport before;
  CheckReport after;              // of a second check, when anything was written; else as before
  std::vector<std::string> done;  // one line for each thing that was mended
  std::string refused;            // why nothing was, when there were findings: one line, what to do included
};

// Checks the image in `file`. An error Status means "could not check" (host I/O error, not an FVD image at all);
// damage is reported in the report, never as a Status. Single-threaded; memory: about 8 bytes a physical chunk.
Result<CheckReport> check_image(File& file, const CheckProgress& progress = {});

// Checks the image and mends what can be derived anew from what is sound: reference counts, numbers that the tables
// give, and a superblock slot. It mends all findings or none. Whatever interrupts it leaves the image as good as
// before, or mended; a sound image is not written. REQUIRES that nobody else uses the image. On an error Status (the
// host's storage failed) it is one of the two. When it returns with `done` filled, what it wrote survives power loss.
Result<RepairReport> repair_image(File& file, const RepairOptions& options);

}  // namespace fvd

#endif  // FVD_CHECK_CHECK_H_
