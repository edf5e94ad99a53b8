#include "format/layout.h"

#include <algorithm>

#include "base/endian.h"

namespace fvd::format {

std::string uuid_text(const Uuid& uuid) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kHex[std::to_integer<unsigned>(uuid[i] >> 4)];
    text += kHex[std::to_integer<unsigned>(uuid[i] & std::byte{15})];
  }
  return text;
}

Uuid uuid_of(std::string_view text) {
  Uuid uuid{};
  std::size_t digits = 0;
  for (const char c : text) {
    const bool letter = c >= 'a' && c <= 'f';
    if ((!letter && (c < '0' || c > '9')) || digits == 2 * uuid.size()) continue;
    std::byte& byte = uuid[digits++ / 2];
    byte = byte << 4 | static_cast<std::byte>(letter ? c - 'a' + 10 : c - '0');
  }
  return uuid;
}

void ObjectRef::encode(std::byte* out) const {
  store_le(out, first_chunk);
  store_le(out + 4, crc);
  store_le(out + 8, length);
}

ObjectRef ObjectRef::decode(const std::byte* in) {
  return {load_le<std::uint32_t>(in), load_le<std::uint32_t>(in + 4), load_le<std::uint64_t>(in + 8)};
}

std::uint32_t Geometry::chunks_in(std::uint64_t file_size) const {
  if (file_size <= data_offset) return 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>((file_size - data_offset) >> chunk_log2, kMaxChunk));
}

Status Geometry::check_ref(const ObjectRef& ref, std::uint32_t chunk_limit, const std::string& what) const {
  if (ref.is_none()) {
    if (ref == ObjectRef{}) return Status::ok();
    return {Code::kCorrupt, what + " has a length but no place"};
  }
  // An object is at most as long as all chunks together; that also keeps the sums below from overflowing.
  if (ref.length < 64 || ref.length > (std::uint64_t{chunk_limit} << chunk_log2) || ref.first_chunk > chunk_limit ||
      object_chunks(ref.length) > chunk_limit - ref.first_chunk + 1) {
    return {Code::kCorrupt, what + " lies beyond the end of the file (chunk " + std::to_string(ref.first_chunk) + ", " +
                                std::to_string(ref.length) + " bytes; the file holds " + std::to_string(chunk_limit) +
                                " chunks)"};
  }
  return Status::ok();
}

}  // namespace fvd::format
