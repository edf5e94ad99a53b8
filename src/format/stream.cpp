#include "format/stream.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "format/directory.h"

namespace fvd::format {
namespace {

constexpr std::array<unsigned char, 8> kMagic{0x46, 0x56, 0x44, 0x53, 0x0D, 0x0A, 0x1A, 0x0A};
constexpr std::uint32_t kStreamVersion = 1;
constexpr std::size_t kCrcFrom = 20;
constexpr std::size_t kMaxText = 4096;
constexpr std::size_t kLongest = StreamHeader::kFixedSize + 3 * 255 + kMaxText + 7;

Status damaged(const std::string& what) { return {Code::kCorrupt, "the stream is damaged: " + what}; }

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

bool is_sane(const StreamIdentity& identity) {
  return identity.virtual_size != 0 && identity.virtual_size % 512 == 0 && identity.virtual_size <= kMaxVirtualSize &&
         identity.created_nanoseconds < 1000000000 && identity.id != 0;
}

}  // namespace

void StreamIdentity::encode(std::byte* out) const {
  store_le(out, virtual_size);
  store_le(out + 8, created_seconds);
  store_le(out + 16, created_nanoseconds);
  store_le(out + 20, id);
}

StreamIdentity StreamIdentity::decode(const std::byte* in) {
  return {load_le<std::uint64_t>(in), load_le<std::int64_t>(in + 8), load_le<std::uint32_t>(in + 16),
          load_le<std::uint32_t>(in + 20)};
}

std::vector<std::byte> StreamHeader::encode() const {
  const std::array<const std::string*, 4> texts{&name, &description, &old_name, &parent_name};
  std::size_t size = kFixedSize;
  for (const std::string* text : texts) size += text->size();
  std::vector<std::byte> out(align_up(size, 8));
  std::byte* p = out.data();
  std::memcpy(p, kMagic.data(), kMagic.size());
  store_le(p + 8, kStreamVersion);
  store_le(p + 12, static_cast<std::uint32_t>(out.size()));
  store_le<std::uint64_t>(p + 24, old.is_none() ? 0 : kIncremental);
  std::memcpy(p + 40, uuid.data(), uuid.size());
  snapshot.encode(p + 56);
  old.encode(p + 80);
  parent.encode(p + 104);
  store_le<std::uint32_t>(p + 128, old_is_ancestor ? kFlagAncestor : 0);
  std::size_t at = kFixedSize;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    store_le(p + 132 + 2 * i, static_cast<std::uint16_t>(texts[i]->size()));
    std::memcpy(p + at, texts[i]->data(), texts[i]->size());
    at += texts[i]->size();
  }
  store_le(p + 16, crc_of(out));
  return out;
}

std::uint32_t StreamHeader::crc_of(std::span<const std::byte> header) { return crc32c(header.subspan(kCrcFrom)); }

Result<std::size_t> StreamHeader::length_of(std::span<const std::byte> prefix) {
  if (prefix.size() < kPrefixSize || std::memcmp(prefix.data(), kMagic.data(), kMagic.size()) != 0) {
    return Status(Code::kCorrupt, "this is no stream of a snapshot, or its beginning is damaged");
  }
  const auto version = load_le<std::uint32_t>(prefix.data() + 8);
  if (version != kStreamVersion) {
    return Status(Code::kUnsupported, "the stream has format version " + std::to_string(version) +
                                          ", which this program does not know; is it a newer one's?");
  }
  const auto length = load_le<std::uint32_t>(prefix.data() + 12);
  if (length < kFixedSize || length > kLongest || length % 8 != 0) return damaged("its header has no valid length");
  return std::size_t{length};
}

Result<StreamHeader> StreamHeader::decode(std::span<const std::byte> in) {
  const auto length = length_of(in);
  if (!length) return length.status();
  const std::byte* p = in.data();
  if (in.size() != *length || load_le<std::uint32_t>(p + 16) != crc_of(in)) return damaged("its header's CRC is wrong");
  const auto incompatible = load_le<std::uint64_t>(p + 24);
  if ((incompatible & ~kIncremental) != 0) {
    return Status(Code::kUnsupported, "the stream has features that this program does not know; is it a newer one's?");
  }
  const bool incremental = (incompatible & kIncremental) != 0;
  const auto flags = load_le<std::uint32_t>(p + 128);
  if (!all_zero(in.subspan(20, 4)) || !all_zero(in.subspan(140, 4)) || (flags & ~kFlagAncestor) != 0) {
    return damaged("a reserved field of its header is in use");
  }
  StreamHeader h;
  std::memcpy(h.uuid.data(), p + 40, h.uuid.size());
  h.snapshot = StreamIdentity::decode(p + 56);
  h.old = StreamIdentity::decode(p + 80);
  h.parent = StreamIdentity::decode(p + 104);
  h.old_is_ancestor = (flags & kFlagAncestor) != 0;
  const std::array<std::string*, 4> texts{&h.name, &h.description, &h.old_name, &h.parent_name};
  std::size_t at = kFixedSize;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::size_t size = load_le<std::uint16_t>(p + 132 + 2 * i);
    if (size > in.size() - at) return damaged("a text of its header is cut off");
    texts[i]->assign(reinterpret_cast<const char*>(p + at), size);
    at += size;
  }
  if (align_up(at, 8) != in.size() || !all_zero(in.subspan(at))) return damaged("its header has a wrong length");
  const auto belongs = [](const StreamIdentity& identity, const std::span<const std::byte> bytes,
                          const std::string& text) {
    return identity.is_none() ? all_zero(bytes) && text.empty()
                              : is_sane(identity) && check_snapshot_name(text).is_ok();
  };
  if (!is_sane(h.snapshot) || !check_snapshot_name(h.name) || h.description.size() > kMaxText ||
      !belongs(h.old, in.subspan(80, StreamIdentity::kSize), h.old_name) || h.old.is_none() == incremental ||
      !belongs(h.parent, in.subspan(104, StreamIdentity::kSize), h.parent_name) ||
      (h.old_is_ancestor && !incremental) || (incremental && h.old.same_snapshot(h.snapshot))) {
    return damaged("its header contradicts itself");
  }
  return h;
}

std::uint32_t StreamRecord::seal(std::span<std::byte> record) const {
  std::byte* p = record.data();
  store_le(p + 4, static_cast<std::uint32_t>(type));
  store_le(p + 8, sequence);
  store_le(p + 16, previous_crc);
  store_le<std::uint32_t>(p + 20, 0);
  store_le(p + 24, offset);
  store_le(p + 32, length);
  const std::uint32_t sealed = crc32c(record.subspan(4));
  store_le(p, sealed);
  return sealed;
}

Result<StreamRecord> StreamRecord::decode(std::span<const std::byte> in) {
  const std::byte* p = in.data();
  StreamRecord r;
  r.crc = load_le<std::uint32_t>(p);
  const auto type = load_le<std::uint32_t>(p + 4);
  r.sequence = load_le<std::uint64_t>(p + 8);
  r.previous_crc = load_le<std::uint32_t>(p + 16);
  r.offset = load_le<std::uint64_t>(p + 24);
  r.length = load_le<std::uint64_t>(p + 32);
  if (load_le<std::uint32_t>(p + 20) != 0) return damaged("a reserved field of a record is in use");
  if (type < 1 || type > 3) return damaged("a record is of no known type");
  r.type = static_cast<StreamRecordType>(type);
  const bool fits = r.type == StreamRecordType::kEnd ? r.offset == 0 && r.length == StreamTotals::kSize
                                                     : r.offset % 512 == 0 && r.length % 512 == 0 && r.length != 0 &&
                                                           (r.type == StreamRecordType::kZeros || r.length <= kMaxData);
  if (!fits) return damaged("a record has no valid range");
  return r;
}

bool StreamRecord::crc_is_right(std::span<const std::byte> record) {
  return load_le<std::uint32_t>(record.data()) == crc32c(record.subspan(4));
}

void StreamTotals::encode(std::byte* out) const {
  store_le(out, records);
  store_le(out + 8, data_bytes);
  store_le(out + 16, zero_bytes);
  store_le(out + 24, crc);
  store_le<std::uint32_t>(out + 28, 0);
}

Result<StreamTotals> StreamTotals::decode(const std::byte* in) {
  if (load_le<std::uint32_t>(in + 28) != 0) return damaged("a reserved field of its end is in use");
  return StreamTotals{load_le<std::uint64_t>(in), load_le<std::uint64_t>(in + 8), load_le<std::uint64_t>(in + 16),
                      load_le<std::uint32_t>(in + 24)};
}

}  // namespace fvd::format
