// Checker: the work behind check_image(). One object checks one image once; single-threaded.
#ifndef FVD_CHECK_CHECKER_H_
#define FVD_CHECK_CHECKER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "check/check.h"
#include "format/directory.h"
#include "format/header.h"
#include "format/journal.h"
#include "format/superblock.h"
#include "format/table.h"
#include "io/file.h"

namespace fvd {

class Checker {
 public:
  explicit Checker(File& file) : file_(file) {}
  Result<CheckReport> run();

 private:
  // What is known about a physical chunk.
  struct ChunkUse {
    std::uint32_t counted_for = 0;  // id of the last snapshot that was counted
    std::uint32_t shape = 0;        // checksum of origin and bitmap where it is named as partial
    std::uint16_t count = 0;        // snapshots that reach it
    bool metadata = false;
    bool complete = false;  // named as a complete chunk
    bool partial = false;   // named as a partial one
    bool origin = false;    // named as an origin
  };
  // The front's mapping of one virtual chunk.
  struct FrontEntry {
    std::uint32_t entry = 0;
    std::uint32_t origin = 0;
    std::uint32_t shape = 0;
  };

  void corrupt(const char* structure, std::string message);
  void leak(const char* structure, std::string message);
  bool choose_superblock();
  void check_directory();
  void check_tables();
  void check_front();
  void check_counts();
  // Claims the chunks of an object and reads it. Nothing, with a finding, when it is not where it should be.
  std::optional<std::vector<std::byte>> read_object(const format::ObjectRef& ref, const char* structure,
                                                    const std::string& what, bool claim);
  void use_data(std::uint32_t chunk, bool partial, std::uint32_t shape, std::uint32_t snapshot,
                const std::string& state);
  void use_origin(std::uint32_t chunk, std::uint32_t snapshot, const std::string& state);
  void count(ChunkUse& use, std::uint32_t snapshot);
  void replay(std::uint32_t virtual_chunks);

  File& file_;
  CheckReport report_;
  format::Header header_;
  format::Geometry geometry_;
  format::Superblock superblock_;
  std::uint32_t limit_ = 0;  // chunks in the file
  std::vector<format::SnapshotRecord> records_;
  std::vector<ChunkUse> use_;  // by chunk number
  std::unordered_map<std::uint32_t, FrontEntry> front_;
  bool tables_complete_ = true;  // every table could be read: the counts can be judged
  Status io_error_;
};

}  // namespace fvd

#endif  // FVD_CHECK_CHECKER_H_
