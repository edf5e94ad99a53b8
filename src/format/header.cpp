#include "format/header.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"

namespace fvd::format {
namespace {

constexpr std::uint64_t kMaxRegion = 1ULL << 40;  // no region of metadata begins beyond this

bool overlap(std::uint64_t a, std::uint64_t a_size, std::uint64_t b, std::uint64_t b_size) {
  return a < b + b_size && b < a + a_size;
}

}  // namespace

void Header::encode(std::span<std::byte, kSize> out) const {
  std::memset(out.data(), 0, kSize);
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  store_le(out.data() + 8, kVersion);
  store_le(out.data() + 12, static_cast<std::uint32_t>(kSize));
  store_le(out.data() + 24, chunk_log2);
  store_le(out.data() + 28, block_log2);
  store_le(out.data() + 32, journal_offset);
  store_le(out.data() + 40, journal_half_size);
  store_le(out.data() + 48, data_offset);
  store_le(out.data() + 56, superblock_offset[0]);
  store_le(out.data() + 64, superblock_offset[1]);
  std::memcpy(out.data() + 72, uuid.data(), uuid.size());
  store_le(out.data() + 16, crc32c(out.subspan(20)));
}

Result<Header> Header::decode(std::span<const std::byte, kSize> in) {
  const auto corrupt = [](const std::string& what) { return Status(Code::kCorrupt, "header: " + what); };
  if (std::memcmp(in.data(), kMagic.data(), kMagic.size()) != 0) {
    if (load_le<std::uint32_t>(in.data()) == 0x5143F5A9) {
      return Status(Code::kUnsupported, "an original FVD image, but neither of version 1 nor of version 2");
    }
    if (std::memcmp(in.data(), "FVD\0", 4) == 0) {
      return Status(
          Code::kUnsupported,
          "an image in the layout of the FVD wiki page, which no released program writes; fvdfs cannot open it");
    }
    return Status(Code::kInvalid, "not an FVD image (no magic at its start)");
  }
  const auto version = load_le<std::uint32_t>(in.data() + 8);
  if (version != kVersion) {
    return Status(Code::kUnsupported,
                  "format version " + std::to_string(version) + " is not known to this program; use a newer one");
  }
  if (load_le<std::uint32_t>(in.data() + 12) != kSize) return corrupt("wrong length");
  if (load_le<std::uint32_t>(in.data() + 16) != crc32c(in.subspan(20))) return corrupt("wrong CRC");
  if (load_le<std::uint32_t>(in.data() + 20) != 0 ||
      std::any_of(in.begin() + 88, in.end(), [](std::byte b) { return b != std::byte{0}; })) {
    return corrupt("a reserved field is in use");
  }
  Header h;
  h.chunk_log2 = load_le<std::uint32_t>(in.data() + 24);
  h.block_log2 = load_le<std::uint32_t>(in.data() + 28);
  h.journal_offset = load_le<std::uint64_t>(in.data() + 32);
  h.journal_half_size = load_le<std::uint64_t>(in.data() + 40);
  h.data_offset = load_le<std::uint64_t>(in.data() + 48);
  h.superblock_offset = {load_le<std::uint64_t>(in.data() + 56), load_le<std::uint64_t>(in.data() + 64)};
  std::memcpy(h.uuid.data(), in.data() + 72, h.uuid.size());
  if (h.chunk_log2 < kMinChunkLog2 || h.chunk_log2 > kMaxChunkLog2) return corrupt("chunk size out of range");
  if (h.block_log2 < kMinBlockLog2 || h.block_log2 > h.chunk_log2 ||
      (1U << (h.chunk_log2 - h.block_log2)) > kMaxBlocksPerChunk) {
    return corrupt("block size out of range");
  }
  for (const std::uint64_t offset :
       {h.journal_offset, h.journal_half_size, h.data_offset, h.superblock_offset[0], h.superblock_offset[1]}) {
    if (offset == 0 || offset % kPage != 0 || offset > kMaxRegion) {
      return corrupt("a region is not aligned to 4096 bytes or out of range");
    }
  }
  const std::uint64_t journal_size = 2 * h.journal_half_size;
  if (overlap(h.superblock_offset[0], kPage, h.superblock_offset[1], kPage)) return corrupt("superblocks overlap");
  for (const std::uint64_t slot : h.superblock_offset) {
    if (overlap(slot, kPage, h.journal_offset, journal_size)) return corrupt("a superblock lies in the journal");
    if (slot + kPage > h.data_offset) return corrupt("a superblock lies in the data region");
  }
  if (h.journal_offset + journal_size > h.data_offset) return corrupt("the journal lies in the data region");
  return h;
}

}  // namespace fvd::format
