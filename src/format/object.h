// What all immutable metadata objects (table, snapshot directory, reference counts) have in common: 64 bytes of header
// whose first 24 are magic, length and CRC32C of the bytes from 20 to the end.
#ifndef FVD_FORMAT_OBJECT_H_
#define FVD_FORMAT_OBJECT_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "format/layout.h"

namespace fvd::format {

inline constexpr std::size_t kObjectHeader = 64;
inline constexpr std::size_t kCrcStart = 20;  // the CRC covers [20, length)

inline constexpr std::string_view kTableMagic = "FVDTABLE";
inline constexpr std::string_view kDirectoryMagic = "FVDSNAPS";
inline constexpr std::string_view kRefcountMagic = "FVDREFCT";

// Writes magic, length (= object.size()) and, last, the CRC into a finished object; returns the CRC.
std::uint32_t seal_object(std::span<std::byte> object, std::string_view magic);
// The same for an object of which `start` is only the beginning, and `rest` what follows, piece after piece.
std::uint32_t seal_object(std::span<std::byte> start, std::span<const std::span<const std::byte>> rest,
                          std::string_view magic);
// kCorrupt unless magic, length and CRC are right and equal those of `ref`.
Status verify_object(std::span<const std::byte> object, std::string_view magic, const ObjectRef& ref);

// How long an object may be before memory is reserved for it, given what the kind allows and what the host has
// allocated for the file (bytes). No stored page or record is all zeros, so that a long object takes host storage
// (less where the host compresses): a hostile hole costs no memory.
inline std::uint64_t longest_credible(std::uint64_t longest_of_kind, std::uint64_t allocated) {
  constexpr std::uint64_t kAlways = 256ULL << 20;
  constexpr std::uint64_t kCompression = 256;
  const std::uint64_t stored = allocated > (1ULL << 50) ? ~std::uint64_t{0} : allocated * kCompression;
  return std::min(longest_of_kind, std::max(kAlways, stored));
}

}  // namespace fvd::format

#endif  // FVD_FORMAT_OBJECT_H_
