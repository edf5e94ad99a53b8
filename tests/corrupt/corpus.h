// Images to damage: between them they hold every structure, every kind of entry and every state of a slot. And the
// fields of an image, so that each can be damaged for itself, with its CRC left wrong or made right again.
#ifndef FVD_TESTS_CORRUPT_CORPUS_H_
#define FVD_TESTS_CORRUPT_CORPUS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "format/directory.h"
#include "format/header.h"
#include "format/superblock.h"
#include "support/image_rig.h"

namespace fvd::test {

struct Specimen {
  const char* name;
  Bytes bytes;
};

// Made once, by the library itself. "rich": a tree of snapshots with one deleted and one held, shared, partial and
// freed chunks, a journal of three batches; "based": over a base image, with zero entries and origin BASE;
// "closed": the same tree closed in order; "young": just created.
const std::vector<Specimen>& corpus();

// The structures of a sound image, and where they are.
struct Anatomy {
  explicit Anatomy(const Bytes& image);

  const Bytes* bytes;
  format::Header header;
  format::Superblock superblock;  // the newest
  std::vector<format::SnapshotRecord> records;
  std::vector<std::uint64_t> record_at;  // file offset of each record
  std::vector<std::uint64_t> batches;    // file offset of each batch of the epoch
  std::uint32_t chunk_limit = 0;

  [[nodiscard]] std::uint64_t at(const format::ObjectRef& ref) const {
    return header.geometry().file_offset(ref.first_chunk);
  }
};

// Which CRCs guard a field.
struct Guard {
  enum class Kind : std::uint8_t { kHeader, kSlot, kDirectory, kTable, kCounts, kBatch };
  Kind kind = Kind::kHeader;
  std::uint64_t at = 0;   // of the structure
  format::ObjectRef ref;  // of an object
};

struct Field {
  std::string name;  // structure and field
  Guard guard;
  std::uint64_t offset = 0;  // in the file
  unsigned size = 0;         // bytes, 1 to 8
  // With the right CRC any valid value of it makes another valid image: what a program might have written.
  bool free = false;
  bool last_batch = false;  // damage of it looks like a write that was cut short
};

std::vector<Field> fields_of(const Anatomy& image);
// What to put there: every bit flipped, and values that a program might have written by mistake. Never the one that it
// has.
std::vector<std::uint64_t> wrong_values(const Anatomy& image, const Field& field);

// One change of bytes; applied in order.
struct Patch {
  std::uint64_t offset = 0;
  Bytes data;
};
// The damage itself, and with `sealed` the right CRC of everything from the structure up to the superblock.
std::vector<Patch> damage(const Anatomy& image, const Field& field, std::uint64_t value, bool sealed);

// Opens, reads, writes and takes, goes to and deletes snapshots. Any answer will do, but it must be one.
void use_as_a_program(std::unique_ptr<File> file);

}  // namespace fvd::test

#endif  // FVD_TESTS_CORRUPT_CORPUS_H_
