#include "format/directory.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "base/checked.h"
#include "base/endian.h"
#include "format/object.h"

namespace fvd::format {
namespace {

constexpr std::size_t kMaxDescription = 4096;

Status corrupt(const std::string& what) { return {Code::kCorrupt, "snapshot directory: " + what + "; run fvd check"}; }

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    std::size_t more = 0;
    std::uint32_t value = lead;
    if (lead >= 0xF0 && lead < 0xF8) {
      more = 3;
      value = lead & 7U;
    } else if (lead >= 0xE0 && lead < 0xF0) {
      more = 2;
      value = lead & 15U;
    } else if (lead >= 0xC0 && lead < 0xE0) {
      more = 1;
      value = lead & 31U;
    } else if (lead >= 0x80) {
      return false;
    }
    if (i + more >= text.size() + (more == 0 ? 1 : 0)) return false;
    for (std::size_t k = 1; k <= more; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0U) != 0x80) return false;
      value = value << 6 | (next & 63U);
    }
    constexpr std::uint32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
    if (value < kSmallest[more] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return false;
    // Control characters of C1 are two bytes long in UTF-8.
    if (more == 1 && value < 0xA0) return false;
    i += more + 1;
  }
  return true;
}

// Parents present, and following them always ends.
Status check_tree(const std::vector<SnapshotRecord>& records) {
  std::unordered_map<std::uint32_t, std::size_t> index;
  for (std::size_t i = 0; i < records.size(); ++i) index.emplace(records[i].id, i);
  enum : unsigned char { kNew, kOnPath, kDone };
  std::vector<unsigned char> state(records.size(), kNew);
  std::vector<std::size_t> path;
  for (std::size_t start = 0; start < records.size(); ++start) {
    path.clear();
    for (std::size_t at = start; state[at] != kDone;) {
      if (state[at] == kOnPath) return corrupt("the parents of snapshot " + records[at].name + " form a cycle");
      state[at] = kOnPath;
      path.push_back(at);
      if (records[at].parent == 0) break;
      const auto parent = index.find(records[at].parent);
      if (parent == index.end()) return corrupt("the parent of snapshot " + records[at].name + " does not exist");
      at = parent->second;
    }
    for (const std::size_t i : path) state[i] = kDone;
  }
  return Status::ok();
}

}  // namespace

Status check_snapshot_name(std::string_view name) {
  if (name.size() > 255) return {Code::kNameTooLong, "a snapshot's name has at most 255 bytes"};
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos) {
    return {Code::kInvalid, "a snapshot cannot have that name: none is empty, . or .., or has a / in it"};
  }
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
  if (std::any_of(name.begin(), name.end(), control) || !is_utf8(name)) {
    return {Code::kInvalid, "a snapshot's name is UTF-8 without control characters"};
  }
  if (name == "current-state") return {Code::kExists, "the name current-state is reserved"};
  return Status::ok();
}

std::vector<std::byte> encode_directory(const std::vector<SnapshotRecord>& records) {
  std::uint64_t size = kObjectHeader;
  for (const SnapshotRecord& r : records) {
    size += align_up(SnapshotRecord::kFixedSize + r.name.size() + r.description.size(), 8);
  }
  std::vector<std::byte> object(size);
  store_le(object.data() + 24, static_cast<std::uint32_t>(records.size()));
  std::byte* p = object.data() + kObjectHeader;
  for (const SnapshotRecord& r : records) {
    const std::uint64_t length = align_up(SnapshotRecord::kFixedSize + r.name.size() + r.description.size(), 8);
    store_le(p, static_cast<std::uint32_t>(length));
    store_le(p + 4, r.id);
    store_le(p + 8, r.parent);
    store_le(p + 12, r.flags);
    r.table.encode(p + 16);
    store_le(p + 32, r.virtual_size);
    store_le(p + 40, r.created_seconds);
    store_le(p + 48, r.created_nanoseconds);
    store_le(p + 52, static_cast<std::uint16_t>(r.name.size()));
    store_le(p + 54, static_cast<std::uint16_t>(r.description.size()));
    store_le(p + 56, r.mapped_bytes);
    std::memcpy(p + 64, r.name.data(), r.name.size());
    std::memcpy(p + 64 + r.name.size(), r.description.data(), r.description.size());
    p += length;
  }
  seal_object(object, kDirectoryMagic);
  return object;
}

Result<std::vector<SnapshotRecord>> decode_directory(std::span<const std::byte> object, const ObjectRef& ref,
                                                     const Geometry& geometry, std::uint32_t chunk_limit,
                                                     std::uint32_t next_snapshot_id) {
  if (Status s = verify_object(object, kDirectoryMagic, ref); !s) return s;
  const auto count = load_le<std::uint32_t>(object.data() + 24);
  if (count == 0 || count > 65535) return corrupt("number of snapshots out of range");
  if (std::any_of(object.begin() + 28, object.begin() + kObjectHeader, [](std::byte b) { return b != std::byte{0}; })) {
    return corrupt("a reserved field is in use");
  }
  std::vector<SnapshotRecord> records;
  records.reserve(std::min<std::size_t>(count, object.size() / SnapshotRecord::kFixedSize));
  std::unordered_set<std::uint32_t> ids;
  std::unordered_set<std::string_view> names;
  std::span<const std::byte> left = object.subspan(kObjectHeader);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::string which = "record " + std::to_string(i);
    if (left.size() < SnapshotRecord::kFixedSize) return corrupt(which + " is cut off");
    const std::byte* p = left.data();
    SnapshotRecord r;
    const auto length = load_le<std::uint32_t>(p);
    r.id = load_le<std::uint32_t>(p + 4);
    r.parent = load_le<std::uint32_t>(p + 8);
    r.flags = load_le<std::uint32_t>(p + 12);
    r.table = ObjectRef::decode(p + 16);
    r.virtual_size = load_le<std::uint64_t>(p + 32);
    r.created_seconds = load_le<std::int64_t>(p + 40);
    r.created_nanoseconds = load_le<std::uint32_t>(p + 48);
    const std::size_t name_length = load_le<std::uint16_t>(p + 52);
    const std::size_t description_length = load_le<std::uint16_t>(p + 54);
    r.mapped_bytes = load_le<std::uint64_t>(p + 56);
    const std::uint64_t text_end = SnapshotRecord::kFixedSize + name_length + description_length;
    if (length != align_up(text_end, 8) || length > left.size()) return corrupt(which + " has a wrong length");
    if (std::any_of(p + text_end, p + length, [](std::byte b) { return b != std::byte{0}; })) {
      return corrupt(which + " has padding in use");
    }
    r.name.assign(reinterpret_cast<const char*>(p + 64), name_length);
    r.description.assign(reinterpret_cast<const char*>(p + 64 + name_length), description_length);
    if (!check_snapshot_name(r.name)) return corrupt(which + " has an invalid name");
    const std::string_view name_in_place(reinterpret_cast<const char*>(p + 64), name_length);
    if (!names.insert(name_in_place).second) return corrupt("two snapshots are named " + r.name);
    if (r.id == 0 || r.id >= next_snapshot_id || !ids.insert(r.id).second) {
      return corrupt("snapshot " + r.name + " has an invalid or repeated id");
    }
    if ((r.flags & ~SnapshotRecord::kFlagHold) != 0) return corrupt("snapshot " + r.name + " has an unknown flag");
    if (r.virtual_size == 0 || r.virtual_size % 512 != 0 || r.virtual_size > kMaxVirtualSize ||
        div_ceil(r.virtual_size, geometry.chunk_size()) > kMaxVirtualChunks) {
      return corrupt("snapshot " + r.name + " has a virtual size out of range");
    }
    if (r.created_nanoseconds >= 1000000000) return corrupt("snapshot " + r.name + " has a time out of range");
    if (r.mapped_bytes > align_up(r.virtual_size, geometry.chunk_size()) ||
        r.mapped_bytes % geometry.chunk_size() != 0) {
      return corrupt("snapshot " + r.name + " maps more than its size");
    }
    if (description_length > kMaxDescription) return corrupt("snapshot " + r.name + " has a description too long");
    if (Status s = geometry.check_ref(r.table, chunk_limit, "the table of snapshot " + r.name); !s) return s;
    records.push_back(std::move(r));
    left = left.subspan(length);
  }
  if (!left.empty()) return corrupt("bytes behind the last record");
  if (Status s = check_tree(records); !s) return s;
  return records;
}

}  // namespace fvd::format
