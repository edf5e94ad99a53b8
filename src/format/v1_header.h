// The header of an original FVD image (version 1, the driver of January 2011), and what follows from it. For reading
// only: no program of ours writes one, but to bring it to version 2. docs/format-v1.md has the bytes.
#ifndef FVD_FORMAT_V1_HEADER_H_
#define FVD_FORMAT_V1_HEADER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fvd/status.h"

namespace fvd::format {

struct V1Header {
  static constexpr std::size_t kSize = 4336;    // bytes that mean something
  static constexpr std::size_t kRegion = 8192;  // bytes that are the header's
  static constexpr std::array<unsigned char, 8> kMagic{0xA9, 0xF5, 0x43, 0x51, 1, 0, 0, 0};  // with the version
  static constexpr std::size_t kCleanAt = 4300;                                              // of clean_shutdown

  static constexpr std::uint32_t kEmpty = 0xFFFFFFFF;  // lookup table: no chunk
  static constexpr std::uint32_t kDirty = 0x80000000;  // ditto: mapping not yet journaled; to be masked
  static constexpr std::uint32_t kNoChunk = kEmpty & ~kDirty;

  // A part of the file that is metadata.
  struct Region {
    const char* name = "";
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };

  std::uint64_t virtual_size = 0;  // bytes
  std::uint64_t data_offset = 0;   // of chunk 0, or of the disk's first byte where there is no table
  // Base image; path "" = none, or none that is needed any more. base_size: bytes that show through, at most the disk.
  std::string base_path;
  std::string base_format;
  std::uint64_t base_size = 0;
  std::uint64_t bitmap_offset = 0;  // a bit for each block of the base, 0 = read it from there; with a base only
  std::uint64_t bitmap_size = 0;
  std::uint64_t block_size = 0;  // any multiple of 512
  std::string data_path;         // a file of its own that holds the data; "" = none
  std::string data_format;
  bool compact = false;            // there is a lookup table
  std::uint64_t table_offset = 0;  // with a table only
  std::uint64_t chunk_size = 0;    // any multiple of 4096
  std::uint64_t journal_offset = 0;
  std::uint64_t journal_size = 0;  // bytes, whole sectors of 512; 0 = no journal
  bool clean = false;              // closed in order: the journal means nothing

  [[nodiscard]] bool has_base() const { return !base_path.empty(); }
  [[nodiscard]] std::uint64_t base_blocks() const;
  [[nodiscard]] std::uint32_t entries() const;       // of the table
  [[nodiscard]] std::uint64_t table_bytes() const;   // whole pages
  [[nodiscard]] std::uint64_t bitmap_bytes() const;  // that hold the bits, without the padding
  // Header, bitmap, table and journal, those that there are.
  [[nodiscard]] std::vector<Region> regions() const;
  // Where physical chunk `number` lies; kCorrupt when a 64-bit file offset cannot say it.
  [[nodiscard]] Result<std::uint64_t> chunk_offset(std::uint32_t number) const;
  // kCorrupt when data at [offset, offset + size) of the image lies over metadata.
  [[nodiscard]] Status check_data(std::uint64_t offset, std::uint64_t size) const;

  // Whether the first bytes of a file say that it is one; at least kMagic.size() of them.
  static bool has_magic(std::span<const std::byte> in);
  // Checks every field that is used: ranges, alignment, strings that end, regions that do not overlap each other, a
  // bitmap that is long enough. kCorrupt otherwise; kUnsupported beyond what this program can count; kInvalid without
  // the magic.
  static Result<V1Header> decode(std::span<const std::byte, kSize> in);
};

}  // namespace fvd::format

#endif  // FVD_FORMAT_V1_HEADER_H_
