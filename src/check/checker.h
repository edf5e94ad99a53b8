// Checker: the work behind check_image() and repair_image(). One object checks one image once; single-threaded.
//
// checker.cpp collects and reads, superblocks.cpp finds the truth, states.cpp goes through the directory and every
// table, front_journal.cpp replays and questions the journal, counts.cpp compares the counts, repair.cpp mends.
#ifndef FVD_CHECK_CHECKER_H_
#define FVD_CHECK_CHECKER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
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
  // What mends a finding. Everything that a mend writes is derived from what is sound.
  enum class Mend : std::uint8_t {
    kNothing,          // no repair can help
    kCounts,           // counting anew
    kDirectory,        // the directory with sizes taken from the tables
    kSuperblock,       // a new superblock, with the same content but for numbers that are derived
    kOlderSuperblock,  // the older superblock, if the user gives up what came after it
  };

  // With `older` the valid superblock with the lower sequence is taken for the truth.
  explicit Checker(File& file, bool older = false, CheckProgress progress = {})
      : file_(file), older_(older), progress_(std::move(progress)) {}
  Result<CheckReport> run();

  // After run(): how many findings each mend would take care of.
  [[nodiscard]] std::uint64_t findings_for(Mend mend) const { return mends_[static_cast<std::size_t>(mend)]; }
  // The first finding that nothing mends.
  [[nodiscard]] const std::string& first_beyond_repair() const { return first_beyond_repair_; }
  // Why the image must not be written whatever is wrong with it; ok otherwise.
  [[nodiscard]] Status check_writable() const;
  // Writes what the findings need and adds what that was to *done; nothing is lost when it is cut short anywhere.
  // REQUIRES a run() that chose a superblock, and no finding for kNothing. docs/crash-safety.md lists the steps.
  Status mend(std::vector<std::string>* done);
  // Gives back the chunks of the objects that mend() replaced, as far as `now` finds them unused.
  Status give_back(const Checker& now) const;

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
    [[nodiscard]] bool is_used() const { return metadata != 0 || complete != 0 || partial != 0 || origin != 0; }
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
  using SlotPage = std::array<std::byte, format::Superblock::kSize>;

  void corrupt(const char* structure, std::string message, Mend mend = Mend::kNothing);
  void leak(const char* structure, std::string message);
  // Claims the chunks of an object for metadata.
  void claim(const format::ObjectRef& ref, const char* structure, const std::string& what, Mend mend = Mend::kNothing);
  // Reads an object, at most `longest` bytes. Nothing, with a finding, when it is not where it should be.
  std::optional<std::vector<std::byte>> read_object(const format::ObjectRef& ref, const char* structure,
                                                    const std::string& what, std::uint64_t longest,
                                                    Mend mend = Mend::kNothing);
  void expect_to_read(const format::ObjectRef& ref);
  bool read(std::uint64_t offset, std::span<std::byte> out);  // false, and io_error_ says why
  [[nodiscard]] std::uint64_t longest_credible(std::uint64_t longest_of_kind) const;

  bool choose_superblock();
  void judge_other_slot(std::size_t chosen, const std::array<SlotPage, 2>& pages, const Status& why);

  void check_directory();
  void check_tables();
  void check_snapshot(const format::SnapshotRecord& record, std::uint32_t number);
  void use_data(std::uint32_t chunk, bool partial, std::uint32_t shape, std::uint32_t snapshot,
                const std::string& state);
  void use_origin(std::uint32_t chunk, std::uint32_t snapshot, const std::string& state);
  static void count(ChunkUse& use, std::uint32_t snapshot);

  void check_front();
  void check_base_table();
  void judge_journal_data(std::uint32_t v, std::uint32_t entry);
  void use_front(std::uint32_t entry, std::uint32_t origin, std::uint32_t shape);
  void replay(std::uint32_t virtual_chunks);
  [[nodiscard]] std::uint64_t half_offset(std::uint64_t half) const;
  bool read_batch(std::uint64_t at, const format::JournalBatch& batch, std::vector<std::byte>* bytes);
  void look_for_later_batches(std::uint64_t half, std::uint64_t from, std::uint64_t next_sequence);

  void check_counts();

  [[nodiscard]] std::vector<std::byte> counted_anew() const;
  Result<format::ObjectRef> place(std::span<const std::byte> object);
  [[nodiscard]] std::uint32_t free_run(std::uint32_t chunks) const;

  File& file_;
  const bool older_;
  const CheckProgress progress_;
  std::uint64_t bytes_read_ = 0;
  std::uint64_t bytes_to_read_ = 0;  // what the structures that are known by now add up to
  CheckReport report_;
  std::array<std::uint64_t, 5> mends_{};  // findings, by Mend
  std::string first_beyond_repair_;
  format::Header header_;
  format::Geometry geometry_;
  format::Superblock superblock_;
  std::uint32_t limit_ = 0;  // chunks in the file
  std::vector<format::SnapshotRecord> records_;
  std::uint64_t file_size_ = 0;
  std::uint64_t allocated_ = 0;  // bytes that the host has stored
  // By chunk number. From calloc, so that a huge file with little in it costs only what is touched.
  std::unique_ptr<ChunkUse[], Free> use_;
  std::unordered_map<std::uint32_t, FrontEntry> journaled_;        // what the journal says; the base table has the rest
  std::unordered_set<std::uint32_t> journal_data_;                 // virtual chunks that the journal has data for
  std::unordered_map<std::uint32_t, std::uint64_t> mapped_bytes_;  // by snapshot id, as its table has it
  bool tables_complete_ = true;              // every table could be read: the counts can be judged
  std::vector<format::ObjectRef> replaced_;  // by mend()
  std::uint32_t appended_ = 0;               // chunks by which mend() made the file longer
  Status io_error_;
};

}  // namespace fvd

#endif  // FVD_CHECK_CHECKER_H_
