#include "format/refcount.h"

#include <algorithm>
#include <cstring>

#include "base/endian.h"
#include "format/object.h"

namespace fvd::format {

void RefcountHeader::encode(std::span<std::byte> object) const {
  std::memset(object.data(), 0, kObjectHeader);
  store_le(object.data() + 24, count);
}

Result<RefcountHeader> RefcountHeader::decode(std::span<const std::byte> in, std::uint64_t object_length,
                                              std::uint32_t chunk_limit) {
  const auto corrupt = [](const char* what) {
    return Status(Code::kCorrupt, std::string("reference counts: ") + what + "; run fvd check");
  };
  if (in.size() < kObjectHeader) return corrupt("too short");
  RefcountHeader h;
  h.count = load_le<std::uint32_t>(in.data() + 24);
  if (std::any_of(in.begin() + 28, in.begin() + kObjectHeader, [](std::byte b) { return b != std::byte{0}; })) {
    return corrupt("a reserved field is in use");
  }
  if (h.length() != object_length) return corrupt("their number does not match the length");
  if (h.count > std::uint64_t{chunk_limit} + 1) return corrupt("counts for chunks beyond the end of the file");
  return h;
}

}  // namespace fvd::format
