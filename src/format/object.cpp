#include "format/object.h"

#include <cstring>

#include "base/crc32c.h"
#include "base/endian.h"

namespace fvd::format {

std::uint32_t seal_object(std::span<std::byte> object, std::string_view magic) {
  return seal_object(object, {}, magic);
}

std::uint32_t seal_object(std::span<std::byte> start, std::span<const std::span<const std::byte>> rest,
                          std::string_view magic) {
  std::uint64_t length = start.size();
  for (const std::span<const std::byte> piece : rest) length += piece.size();
  std::memcpy(start.data(), magic.data(), 8);
  store_le(start.data() + 8, length);
  std::uint32_t crc = crc32c(start.subspan(kCrcStart));
  for (const std::span<const std::byte> piece : rest) crc = crc32c(piece, crc);
  store_le(start.data() + 16, crc);
  return crc;
}

Status verify_object(std::span<const std::byte> object, std::string_view magic, const ObjectRef& ref) {
  const std::string what(magic);
  if (object.size() < kObjectHeader || object.size() != ref.length) {
    return {Code::kCorrupt, "object " + what + " has the wrong length"};
  }
  if (std::memcmp(object.data(), magic.data(), 8) != 0) {
    return {Code::kCorrupt, "chunk " + std::to_string(ref.first_chunk) + " does not begin with " + what};
  }
  if (load_le<std::uint64_t>(object.data() + 8) != ref.length) {
    return {Code::kCorrupt, "object " + what + " has a length other than its reference"};
  }
  const auto crc = load_le<std::uint32_t>(object.data() + 16);
  if (crc != ref.crc || crc32c(object.subspan(kCrcStart)) != crc) {
    return {Code::kCorrupt, "object " + what + " in chunk " + std::to_string(ref.first_chunk) + " has a wrong CRC"};
  }
  if (load_le<std::uint32_t>(object.data() + 20) != 0) {
    return {Code::kCorrupt, "object " + what + " has a reserved field in use"};
  }
  return Status::ok();
}

}  // namespace fvd::format
