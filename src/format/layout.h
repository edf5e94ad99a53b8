// Names and limits that every structure of the image format shares. docs/format.md is the specification; this folder
// turns it into structs. Pure: bytes in, structs out, no I/O, no state.
#ifndef FVD_FORMAT_LAYOUT_H_
#define FVD_FORMAT_LAYOUT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fvd/status.h"

namespace fvd::format {

inline constexpr std::uint32_t kPage = 4096;  // unit of alignment of all metadata, bytes
inline constexpr std::uint32_t kVersion = 2;

// Physical chunk numbers start at 1: chunk n lies at data_offset + (n - 1) * chunk_size.
// A table entry is a chunk number, or one of two words, and in the current-state's and a snapshot's table the flag
// kPartialFlag beside a chunk number says that a partial record gives the origin and the blocks present.
inline constexpr std::uint32_t kEmpty = 0;              // falls through to the base image, or reads as zeros
inline constexpr std::uint32_t kZero = 0x3FFFFFFF;      // reads as zeros, also over a base image
inline constexpr std::uint32_t kMaxChunk = 0x3FFFFFFE;  // highest physical chunk number
inline constexpr std::uint32_t kChunkMask = 0x3FFFFFFF;
inline constexpr std::uint32_t kPartialFlag = 0x40000000;
inline constexpr std::uint32_t kSharedFlag = 0x80000000;  // in memory only, never on disk

// An origin is a chunk number (1..kMaxChunk) or one of these.
inline constexpr std::uint32_t kOriginZero = kZero;   // blocks not present read as zeros
inline constexpr std::uint32_t kOriginBase = kEmpty;  // ... come from the base image

inline constexpr std::uint32_t kMinChunkLog2 = 16;  // 64 KiB
inline constexpr std::uint32_t kMaxChunkLog2 = 26;  // 64 MiB
inline constexpr std::uint32_t kMinBlockLog2 = 9;   // 512 bytes
inline constexpr std::uint32_t kMaxBlocksPerChunk = 16384;
inline constexpr std::uint64_t kMaxVirtualSize = 64ULL << 40;
inline constexpr std::uint64_t kMaxVirtualChunks = 1ULL << 28;

inline constexpr std::size_t kMaxBasePath = 1023;  // bytes, without the terminating NUL
inline constexpr std::size_t kMaxBaseFormat = 15;

// Feature words of the superblock. A reader must refuse an image with an incompatible bit that it does not know, and
// must not write one with an unknown read-only-compatible bit.
inline constexpr std::uint64_t kIncompatBaseImage = 1ULL << 0;  // "base-image": EMPTY falls through to a base image
inline constexpr std::uint64_t kIncompatJournalData = 1ULL << 1;  // "journal-data": the journal may hold data
inline constexpr std::uint64_t kKnownIncompat = kIncompatBaseImage | kIncompatJournalData;
inline constexpr std::uint64_t kKnownRoCompat = 0;
inline constexpr std::uint64_t kKnownCompat = 0;

using Uuid = std::array<std::byte, 16>;
std::string uuid_text(const Uuid& uuid);  // 8-4-4-4-12 lower-case hex
Uuid uuid_of(std::string_view text);      // the same back; what is no digit is left out

// Where an immutable metadata object lies: a run of whole chunks from `first_chunk`, `length` bytes of it used.
// All zero = there is none.
struct ObjectRef {
  static constexpr std::size_t kSize = 16;
  std::uint32_t first_chunk = 0;
  std::uint32_t crc = 0;     // equals the object's own crc field
  std::uint64_t length = 0;  // bytes, header included

  [[nodiscard]] bool is_none() const { return first_chunk == 0; }
  void encode(std::byte* out) const;             // kSize bytes
  static ObjectRef decode(const std::byte* in);  // kSize bytes; unchecked: Geometry::check_ref does
  bool operator==(const ObjectRef&) const = default;
};

// Sizes that follow from the header; the only place where chunk numbers, virtual offsets and file offsets meet.
struct Geometry {
  std::uint32_t chunk_log2 = 20;
  std::uint32_t block_log2 = 12;
  std::uint64_t data_offset = 0;  // file offset of chunk 1

  [[nodiscard]] std::uint64_t chunk_size() const { return 1ULL << chunk_log2; }
  [[nodiscard]] std::uint64_t block_size() const { return 1ULL << block_log2; }
  [[nodiscard]] std::uint32_t blocks_per_chunk() const { return 1U << (chunk_log2 - block_log2); }
  // 64-bit words of a bitmap over the blocks of a chunk (at least one).
  [[nodiscard]] std::uint32_t bitmap_words() const { return (blocks_per_chunk() + 63) / 64; }
  [[nodiscard]] std::uint32_t bitmap_bytes() const { return bitmap_words() * 8; }
  [[nodiscard]] std::uint32_t virtual_chunks(std::uint64_t virtual_size) const {
    return static_cast<std::uint32_t>((virtual_size + chunk_size() - 1) >> chunk_log2);
  }
  // REQUIRES 1 <= chunk <= kMaxChunk.
  [[nodiscard]] std::uint64_t file_offset(std::uint32_t chunk) const {
    return data_offset + (static_cast<std::uint64_t>(chunk - 1) << chunk_log2);
  }
  // Highest chunk number that lies wholly within a file of `file_size` bytes; 0 = none.
  [[nodiscard]] std::uint32_t chunks_in(std::uint64_t file_size) const;
  [[nodiscard]] std::uint32_t object_chunks(std::uint64_t length) const {
    return static_cast<std::uint32_t>((length + chunk_size() - 1) >> chunk_log2);
  }
  // kCorrupt unless the object lies wholly within chunks 1..chunk_limit. `what` names it in the message.
  Status check_ref(const ObjectRef& ref, std::uint32_t chunk_limit, const std::string& what) const;
};

}  // namespace fvd::format

#endif  // FVD_FORMAT_LAYOUT_H_
