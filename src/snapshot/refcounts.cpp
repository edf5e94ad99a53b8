#include "snapshot/refcounts.h"

#include "base/endian.h"
#include "format/refcount.h"
#include "snapshot/objects.h"

namespace fvd {

using format::kObjectHeader;

Result<Refcounts> Refcounts::load(Storage& storage, const format::Geometry& geometry, const format::ObjectRef& ref,
                                  std::uint32_t chunk_limit) {
  Refcounts counts;
  counts.limit_ = chunk_limit;
  if (!ref.is_none()) {
    auto object =
        read_object(storage, Structure::kRefcounts, geometry, ref, format::RefcountHeader{chunk_limit + 1}.length());
    if (!object) return object.status();
    counts.object_ = std::move(*object);
    if (Status s = format::verify_object(counts.object_, format::kRefcountMagic, ref); !s) return s;
    auto header = format::RefcountHeader::decode(counts.object_, ref.length, chunk_limit);
    if (!header) return header.status();
  }
  return counts;
}

std::uint16_t Refcounts::get(std::uint32_t chunk) const {
  const std::size_t at = kObjectHeader + std::size_t{chunk} * 2;
  return at < object_.size() ? load_le<std::uint16_t>(object_.data() + at) : std::uint16_t{0};
}

void Refcounts::put(std::uint32_t chunk, std::uint16_t count) {
  if (kObjectHeader + std::size_t{chunk} * 2 >= object_.size()) {
    object_.resize(kObjectHeader + (std::size_t{limit_} + 1) * 2);
  }
  store_le(object_.data() + kObjectHeader + std::size_t{chunk} * 2, count);
}

bool Refcounts::increment(std::uint32_t chunk) {
  const std::uint16_t count = get(chunk);
  if (count == kMax) return false;
  put(chunk, static_cast<std::uint16_t>(count + 1));
  return true;
}

bool Refcounts::decrement(std::uint32_t chunk) {
  const std::uint16_t count = get(chunk);
  if (count == 0) return false;
  put(chunk, static_cast<std::uint16_t>(count - 1));
  return true;
}

std::span<const std::byte> Refcounts::finish(std::uint32_t* crc) {
  std::uint32_t count = limit_ + 1;
  while (count > 0 && get(count - 1) == 0) --count;
  *crc = 0;
  if (count == 0) return {};
  const format::RefcountHeader header{count};
  const std::span<std::byte> object = std::span(object_).first(header.length());
  header.encode(object);
  *crc = format::seal_object(object, format::kRefcountMagic);
  return object;
}

}  // namespace fvd
