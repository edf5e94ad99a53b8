// The superblock: the one structure that is switched. Two slots; the valid one with the higher sequence counts.
#ifndef FVD_FORMAT_SUPERBLOCK_H_
#define FVD_FORMAT_SUPERBLOCK_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "format/layout.h"

namespace fvd::format {

struct Superblock {
  static constexpr std::size_t kSize = kPage;
  static constexpr std::array<unsigned char, 8> kMagic{'F', 'V', 'D', 'S', 'U', 'P', 'E', 'R'};
  static constexpr std::uint32_t kFlagClean = 1U << 0;  // journal empty and every free chunk given back to the host

  std::uint64_t self_offset = 0;  // file offset of the slot that it was written to
  Uuid uuid{};                    // equals the header's
  std::uint64_t sequence = 0;     // one more than the superblock before
  std::uint64_t incompat = 0;
  std::uint64_t ro_compat = 0;
  std::uint64_t compat = 0;
  std::uint32_t flags = 0;
  std::uint32_t next_snapshot_id = 1;
  std::uint64_t virtual_size = 0;  // bytes, of current-state
  std::uint64_t epoch = 0;         // of the journal; its half is epoch & 1
  std::uint64_t journal_salt = 0;  // random, new with every epoch
  std::uint32_t parent = 0;        // snapshot that current-state descends from; 0 = none
  std::uint32_t snapshot_count = 0;
  ObjectRef table;              // base table of current-state; none = all EMPTY
  ObjectRef directory;          // none = no snapshots
  ObjectRef refcounts;          // none = all zero
  std::uint64_t base_size = 0;  // bytes of the base image that show through; 0 without one
  std::string base_format;
  std::string base_path;

  void encode(std::span<std::byte, kSize> out) const;
  // kCorrupt: magic, CRC, slot address, uuid, a flag or number out of range. kUnsupported: an unknown incompatible
  // feature (named in the message, from the superblock's own name table where it is there).
  // `geometry` bounds virtual_size; object references are checked for form here, against the file by
  // Geometry::check_ref.
  static Result<Superblock> decode(std::span<const std::byte, kSize> in, std::uint64_t slot_offset, const Uuid& uuid,
                                   const Geometry& geometry);
  [[nodiscard]] std::vector<std::string> feature_names() const;  // of the bits that are set
};

// What can be told of a slot that decode() refuses.
struct SlotRemains {
  bool blank = false;          // nothing but zeros
  bool crc_is_right = false;   // a program wrote it so, whatever is wrong with its content
  bool belongs_here = false;   // magic, length, own offset and uuid are right
  std::uint64_t sequence = 0;  // as it stands there

  static SlotRemains of(std::span<const std::byte, Superblock::kSize> in, std::uint64_t slot_offset, const Uuid& uuid);
};

}  // namespace fvd::format

#endif  // FVD_FORMAT_SUPERBLOCK_H_
