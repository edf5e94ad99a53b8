// Checker: the work behind check_image(). One object checks one image once; single-threaded.
#ifndef FVD_CHECK_CHECKER_H_
#define FVD_CHECK_CHECKER_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
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
  // What is known about a physical chunk: 8 bytes, all zero = nothing yet.
  struct ChunkUse {
    std::uint32_t shape : 24;    // checksum of origin and bitmap where it is named as partial
    std::uint32_t metadata : 1;  // holds an object
    std::uint32_t complete : 1;  // named as a complete chunk
    std::uint32_t partial : 1;   // named as a partial one
    std::uint32_t origin : 1;    // named as an origin
    std::uint16_t counted_for;   // number of the last snapshot that was counted, from 1 in directory order
    std::uint16_t count;         // snapshots that reach it
  };
  static_assert(sizeof(ChunkUse) == 8);
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  // The front's mapping of one virtual chunk, as the journal gives it.
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
  void use_front(std::uint32_t entry, std::uint32_t origin, std::uint32_t shape);
  void check_counts();
  // Claims the chunks of an object if asked, and reads it, at most `longest` bytes. Nothing, with a finding, when it is
  // not where it should be.
  std::optional<std::vector<std::byte>> read_object(const format::ObjectRef& ref, const char* structure,
                                                    const std::string& what, std::uint64_t longest, bool claim);
  [[nodiscard]] std::uint64_t longest_table(std::uint64_t virtual_size) const;
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
  std::uint64_t file_size_ = 0;
  // By chunk number. From calloc, so that a huge file with little in it costs only what is touched.
  std::unique_ptr<ChunkUse[], Free> use_;
  std::unordered_map<std::uint32_t, FrontEntry> journaled_;  // what the journal says; the base table has the rest
  bool tables_complete_ = true;                              // every table could be read: the counts can be judged
  Status io_error_;
};

}  // namespace fvd

#endif  // FVD_CHECK_CHECKER_H_
