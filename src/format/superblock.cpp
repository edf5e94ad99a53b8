#include "format/superblock.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"

namespace fvd::format {
namespace {

// Of what only ever counts up: no image gets there, and one more never wraps around.
constexpr std::uint64_t kMaxCounter = 1ULL << 62;

constexpr std::size_t kNames = 1208;
constexpr std::size_t kNameSlots = 32;
constexpr std::size_t kNameSlot = 48;
constexpr std::size_t kReserved = kNames + kNameSlots * kNameSlot;
constexpr std::size_t kFormatBytes = 16;
constexpr std::size_t kPathBytes = 1024;
static_assert(184 + kPathBytes == kNames && kReserved < Superblock::kSize);

struct Feature {
  std::uint8_t kind;  // 0 incompatible, 1 read-only-compatible, 2 compatible
  std::uint8_t bit;
  const char* name;
};
constexpr std::array<Feature, 2> kFeatures{{{0, 0, "base-image"}, {0, 1, "journal-data"}}};

// A NUL-padded field as text; nothing when it has no NUL or anything after it.
bool load_text(std::span<const std::byte> field, std::string* text) {
  const auto end = std::find(field.begin(), field.end(), std::byte{0});
  if (end == field.end() || std::any_of(end, field.end(), [](std::byte b) { return b != std::byte{0}; })) return false;
  text->assign(reinterpret_cast<const char*>(field.data()), static_cast<std::size_t>(end - field.begin()));
  return true;
}

std::string name_of(std::span<const std::byte> in, std::uint8_t kind, std::uint8_t bit) {
  for (std::size_t i = 0; i < kNameSlots; ++i) {
    const auto slot = in.subspan(kNames + i * kNameSlot, kNameSlot);
    std::string name;
    if (std::to_integer<std::uint8_t>(slot[0]) != kind || std::to_integer<std::uint8_t>(slot[1]) != bit) continue;
    if (!load_text(slot.subspan(2), &name) || name.empty()) continue;
    // It goes to a terminal.
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c < 0x20 || c > 0x7E; }, '?');
    return "\"" + name + "\"";
  }
  return "bit " + std::to_string(bit);
}

}  // namespace

void Superblock::encode(std::span<std::byte, kSize> out) const {
  std::byte* p = out.data();
  std::memset(p, 0, kSize);
  std::memcpy(p, kMagic.data(), kMagic.size());
  store_le(p + 8, static_cast<std::uint32_t>(kSize));
  store_le(p + 16, self_offset);
  std::memcpy(p + 24, uuid.data(), uuid.size());
  store_le(p + 40, sequence);
  store_le(p + 48, incompat);
  store_le(p + 56, ro_compat);
  store_le(p + 64, compat);
  store_le(p + 72, flags);
  store_le(p + 76, next_snapshot_id);
  store_le(p + 80, virtual_size);
  store_le(p + 88, epoch);
  store_le(p + 96, journal_salt);
  store_le(p + 104, parent);
  store_le(p + 108, snapshot_count);
  table.encode(p + 112);
  directory.encode(p + 128);
  refcounts.encode(p + 144);
  store_le(p + 160, base_size);
  std::memcpy(p + 168, base_format.data(), std::min(base_format.size(), kFormatBytes - 1));
  std::memcpy(p + 184, base_path.data(), std::min(base_path.size(), kPathBytes - 1));
  for (std::size_t i = 0; i < kFeatures.size(); ++i) {
    std::byte* slot = p + kNames + i * kNameSlot;
    slot[0] = std::byte{kFeatures[i].kind};
    slot[1] = std::byte{kFeatures[i].bit};
    std::memcpy(slot + 2, kFeatures[i].name, std::strlen(kFeatures[i].name));
  }
  store_le(p + 12, crc32c(out.subspan(16)));
}

Result<Superblock> Superblock::decode(std::span<const std::byte, kSize> in, std::uint64_t slot_offset, const Uuid& uuid,
                                      const Geometry& geometry) {
  const auto corrupt = [](const std::string& what) { return Status(Code::kCorrupt, "superblock: " + what); };
  const std::byte* p = in.data();
  if (std::memcmp(p, kMagic.data(), kMagic.size()) != 0) return corrupt("wrong magic");
  if (load_le<std::uint32_t>(p + 8) != kSize) return corrupt("wrong length");
  if (load_le<std::uint32_t>(p + 12) != crc32c(in.subspan(16))) return corrupt("wrong CRC");
  Superblock s;
  s.self_offset = load_le<std::uint64_t>(p + 16);
  if (s.self_offset != slot_offset) return corrupt("written for another place");
  if (std::memcmp(p + 24, uuid.data(), uuid.size()) != 0) return corrupt("belongs to another image (uuid)");
  s.uuid = uuid;
  s.sequence = load_le<std::uint64_t>(p + 40);
  s.incompat = load_le<std::uint64_t>(p + 48);
  s.ro_compat = load_le<std::uint64_t>(p + 56);
  s.compat = load_le<std::uint64_t>(p + 64);
  if (const std::uint64_t unknown = s.incompat & ~kKnownIncompat; unknown != 0) {
    const auto bit = static_cast<std::uint8_t>(std::countr_zero(unknown));
    return Status(Code::kUnsupported,
                  "it uses the feature " + name_of(in, 0, bit) + ", which this program does not know; use a newer one");
  }
  s.flags = load_le<std::uint32_t>(p + 72);
  s.next_snapshot_id = load_le<std::uint32_t>(p + 76);
  s.virtual_size = load_le<std::uint64_t>(p + 80);
  s.epoch = load_le<std::uint64_t>(p + 88);
  s.journal_salt = load_le<std::uint64_t>(p + 96);
  s.parent = load_le<std::uint32_t>(p + 104);
  s.snapshot_count = load_le<std::uint32_t>(p + 108);
  s.table = ObjectRef::decode(p + 112);
  s.directory = ObjectRef::decode(p + 128);
  s.refcounts = ObjectRef::decode(p + 144);
  s.base_size = load_le<std::uint64_t>(p + 160);
  if (s.sequence == 0 || s.sequence > kMaxCounter) return corrupt("sequence out of range");
  if (s.epoch > kMaxCounter) return corrupt("epoch out of range");
  if ((s.flags & ~kFlagClean) != 0) return corrupt("an unknown flag is set");
  if (s.next_snapshot_id == 0) return corrupt("next snapshot id 0");
  if (s.virtual_size == 0 || s.virtual_size % 512 != 0 || s.virtual_size > kMaxVirtualSize ||
      div_ceil(s.virtual_size, geometry.chunk_size()) > kMaxVirtualChunks) {
    return corrupt("virtual size out of range");
  }
  if (s.snapshot_count > 65535 || s.parent >= s.next_snapshot_id)
    return corrupt("snapshot count or parent out of range");
  if ((s.snapshot_count == 0) != s.directory.is_none()) return corrupt("snapshot count contradicts the directory");
  if (s.parent != 0 && s.snapshot_count == 0) return corrupt("a parent, but no snapshots");
  for (const ObjectRef& ref : {s.table, s.directory, s.refcounts}) {
    if (ref.is_none() ? ref != ObjectRef{} : (ref.length < 64 || ref.first_chunk > kMaxChunk)) {
      return corrupt("malformed object reference");
    }
  }
  if (!load_text(in.subspan(168, kFormatBytes), &s.base_format) ||
      !load_text(in.subspan(184, kPathBytes), &s.base_path)) {
    return corrupt("malformed base image name");
  }
  const bool has_base = (s.incompat & kIncompatBaseImage) != 0;
  if (has_base == s.base_path.empty() || (!has_base && (s.base_size != 0 || !s.base_format.empty())) ||
      s.base_size > kMaxVirtualSize) {
    return corrupt("base image fields contradict each other");
  }
  if (std::any_of(in.begin() + kReserved, in.end(), [](std::byte b) { return b != std::byte{0}; })) {
    return corrupt("a reserved field is in use");
  }
  return s;
}

SlotRemains SlotRemains::of(std::span<const std::byte, Superblock::kSize> in, std::uint64_t slot_offset,
                            const Uuid& uuid) {
  const std::byte* p = in.data();
  SlotRemains r;
  r.blank = std::all_of(in.begin(), in.end(), [](std::byte b) { return b == std::byte{0}; });
  r.crc_is_right = load_le<std::uint32_t>(p + 12) == crc32c(in.subspan(16));
  r.belongs_here = std::memcmp(p, Superblock::kMagic.data(), Superblock::kMagic.size()) == 0 &&
                   load_le<std::uint32_t>(p + 8) == Superblock::kSize &&
                   load_le<std::uint64_t>(p + 16) == slot_offset && std::memcmp(p + 24, uuid.data(), uuid.size()) == 0;
  r.sequence = load_le<std::uint64_t>(p + 40);
  return r;
}

std::vector<std::string> Superblock::feature_names() const {
  std::vector<std::string> names;
  for (const Feature& f : kFeatures) {
    const std::uint64_t word = f.kind == 0 ? incompat : f.kind == 1 ? ro_compat : compat;
    if ((word >> f.bit & 1) != 0) names.emplace_back(f.name);
  }
  return names;
}

}  // namespace fvd::format
