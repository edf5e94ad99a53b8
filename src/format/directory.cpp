#include "format/directory.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

#include "base/checked.h"
#include "base/utf8.h"

namespace fvd::format {
namespace {

constexpr std::size_t kMaxDescription = 4096;
constexpr std::size_t kCountOffset = 24;

Status corrupt(const std::string& what) { return {Code::kCorrupt, "snapshot directory: " + what + "; run fvd check"}; }

// UTF-8 without control characters.
bool is_plain_text(std::string_view text) {
  while (!text.empty()) {
    const CodePoint next = first_code_point(text);
    if (next.bytes == 0 || next.is_control()) return false;
    text.remove_prefix(next.bytes);
  }
  return true;
}

// Ids and names are unique, parents present, and following them always ends.
class TreeCheck {
 public:
  // `count` is a claim; memory is reserved for `credible` records at most.
  explicit TreeCheck(std::size_t credible) : names_(std::bit_ceil(2 * credible + 1)) { nodes_.reserve(credible); }

  Status add(std::uint32_t id, std::uint32_t parent, std::string_view name) {
    std::size_t slot = std::hash<std::string_view>{}(name) % names_.size();
    for (; names_[slot] != 0; slot = (slot + 1) % names_.size()) {
      if (nodes_[names_[slot] - 1].name == name) return corrupt("two snapshots are named " + std::string(name));
    }
    ascending_ = ascending_ && parent < id && (nodes_.empty() || nodes_.back().id < id);
    nodes_.push_back({id, parent, name});
    names_[slot] = static_cast<std::uint32_t>(nodes_.size());
    return Status::ok();
  }
  Status finish() {
    // So it is in every image that is ours: a snapshot comes after its parent, and no cycle can be.
    if (ascending_) return find_parents();
    std::sort(nodes_.begin(), nodes_.end(), [](const Node& a, const Node& b) { return a.id < b.id; });
    for (std::size_t i = 1; i < nodes_.size(); ++i) {
      if (nodes_[i].id == nodes_[i - 1].id) return repeated(nodes_[i].name);
    }
    if (Status s = find_parents(); !s) return s;
    return find_cycle();
  }
  static Status repeated(std::string_view name) {
    return corrupt("snapshot " + std::string(name) + " has an invalid or repeated id");
  }

 private:
  struct Node {
    std::uint32_t id;
    std::uint32_t parent;
    std::string_view name;
  };
  // REQUIRES nodes_ sorted by id, as the next one does.
  [[nodiscard]] std::vector<Node>::const_iterator find(std::uint32_t id) const {
    const auto at = std::lower_bound(nodes_.begin(), nodes_.end(), id, [](const Node& n, auto x) { return n.id < x; });
    return at != nodes_.end() && at->id == id ? at : nodes_.end();
  }
  Status find_parents() {
    std::uint32_t found = 0;
    for (const Node& node : nodes_) {
      if (node.parent == 0 || node.parent == found || find(node.parent) != nodes_.end()) {
        found = node.id;  // in a chain the next one's parent
        continue;
      }
      return corrupt("the parent of snapshot " + std::string(node.name) + " does not exist");
    }
    return Status::ok();
  }
  Status find_cycle() {
    enum : unsigned char { kNew, kOnPath, kDone };
    std::vector<unsigned char> state(nodes_.size(), kNew);
    std::vector<std::size_t> path;
    for (std::size_t start = 0; start < nodes_.size(); ++start) {
      path.clear();
      for (std::size_t at = start; state[at] != kDone;) {
        if (state[at] == kOnPath) {
          return corrupt("the parents of snapshot " + std::string(nodes_[at].name) + " form a cycle");
        }
        state[at] = kOnPath;
        path.push_back(at);
        if (nodes_[at].parent == 0) break;
        at = static_cast<std::size_t>(find(nodes_[at].parent) - nodes_.begin());
      }
      for (const std::size_t i : path) state[i] = kDone;
    }
    return Status::ok();
  }

  std::vector<Node> nodes_;
  std::vector<std::uint32_t> names_;  // open addressing: 1 + index of the node
  bool ascending_ = true;
};

// Everything about a record but its place among the others. `left` begins with it.
Status check_record(std::span<const std::byte> left, std::uint32_t number, const Geometry& geometry,
                    std::uint32_t chunk_limit, std::uint32_t next_snapshot_id) {
  const auto which = [number] { return "record " + std::to_string(number); };
  if (left.size() < SnapshotRecord::kFixedSize) return corrupt(which() + " is cut off");
  const std::byte* p = left.data();
  const std::size_t name_length = load_le<std::uint16_t>(p + 52);
  const std::size_t description_length = load_le<std::uint16_t>(p + 54);
  const std::uint64_t text_end = SnapshotRecord::kFixedSize + name_length + description_length;
  const StoredRecord record(p);
  if (record.length() != align_up(text_end, 8) || record.length() > left.size()) {
    return corrupt(which() + " has a wrong length");
  }
  if (std::any_of(p + text_end, p + record.length(), [](std::byte b) { return b != std::byte{0}; })) {
    return corrupt(which() + " has padding in use");
  }
  if (!check_snapshot_name(record.name())) return corrupt(which() + " has an invalid name");
  const auto snapshot = [&record] { return "snapshot " + std::string(record.name()); };
  if (record.id() == 0 || record.id() >= next_snapshot_id) return TreeCheck::repeated(record.name());
  if ((load_le<std::uint32_t>(p + 12) & ~SnapshotRecord::kFlagHold) != 0) {
    return corrupt(snapshot() + " has an unknown flag");
  }
  const auto virtual_size = load_le<std::uint64_t>(p + 32);
  if (virtual_size == 0 || virtual_size % 512 != 0 || virtual_size > kMaxVirtualSize ||
      div_ceil(virtual_size, geometry.chunk_size()) > kMaxVirtualChunks) {
    return corrupt(snapshot() + " has a virtual size out of range");
  }
  if (load_le<std::uint32_t>(p + 48) >= 1000000000) return corrupt(snapshot() + " has a time out of range");
  const auto mapped_bytes = load_le<std::uint64_t>(p + 56);
  if (mapped_bytes > align_up(virtual_size, geometry.chunk_size()) || mapped_bytes % geometry.chunk_size() != 0) {
    return corrupt(snapshot() + " maps more than its size");
  }
  if (description_length > kMaxDescription) return corrupt(snapshot() + " has a description too long");
  const ObjectRef table = ObjectRef::decode(p + 16);
  if (geometry.check_ref(table, chunk_limit, {}).is_ok()) return Status::ok();
  return geometry.check_ref(table, chunk_limit, "the table of " + snapshot());
}

}  // namespace

Status check_snapshot_name(std::string_view name) {
  if (name.size() > 255) return {Code::kNameTooLong, "a snapshot's name has at most 255 bytes"};
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos) {
    return {Code::kInvalid, "a snapshot cannot have that name: none is empty, . or .., or has a / in it"};
  }
  if (!is_plain_text(name)) return {Code::kInvalid, "a snapshot's name is UTF-8 without control characters"};
  if (name == "current-state") return {Code::kExists, "the name current-state is reserved"};
  return Status::ok();
}

std::size_t SnapshotRecord::encoded_size() const { return align_up(kFixedSize + name.size() + description.size(), 8); }

void SnapshotRecord::encode(std::byte* out) const {
  const std::size_t length = encoded_size();
  std::memset(out, 0, length);
  store_le(out, static_cast<std::uint32_t>(length));
  store_le(out + 4, id);
  store_le(out + StoredRecord::kParentOffset, parent);
  store_le(out + 12, flags);
  table.encode(out + 16);
  store_le(out + 32, virtual_size);
  store_le(out + 40, created_seconds);
  store_le(out + 48, created_nanoseconds);
  store_le(out + 52, static_cast<std::uint16_t>(name.size()));
  store_le(out + 54, static_cast<std::uint16_t>(description.size()));
  store_le(out + 56, mapped_bytes);
  std::memcpy(out + kFixedSize, name.data(), name.size());
  std::memcpy(out + kFixedSize + name.size(), description.data(), description.size());
}

SnapshotRecord SnapshotRecord::decode(const std::byte* in) {
  const StoredRecord stored(in);
  SnapshotRecord r;
  r.id = stored.id();
  r.parent = stored.parent();
  r.flags = load_le<std::uint32_t>(in + 12);
  r.table = ObjectRef::decode(in + 16);
  r.virtual_size = load_le<std::uint64_t>(in + 32);
  r.created_seconds = load_le<std::int64_t>(in + 40);
  r.created_nanoseconds = load_le<std::uint32_t>(in + 48);
  r.mapped_bytes = load_le<std::uint64_t>(in + 56);
  r.name = stored.name();
  r.description.assign(reinterpret_cast<const char*>(in + kFixedSize + r.name.size()), load_le<std::uint16_t>(in + 54));
  return r;
}

std::uint32_t seal_directory(std::span<std::byte, kObjectHeader> header, std::uint32_t count,
                             std::span<const std::span<const std::byte>> records) {
  std::fill(header.begin(), header.end(), std::byte{0});
  store_le(header.data() + kCountOffset, count);
  return seal_object(header, records, kDirectoryMagic);
}

std::vector<std::byte> encode_directory(const std::vector<SnapshotRecord>& records) {
  std::size_t size = kObjectHeader;
  for (const SnapshotRecord& r : records) size += r.encoded_size();
  std::vector<std::byte> object(size);
  std::byte* p = object.data() + kObjectHeader;
  for (const SnapshotRecord& r : records) {
    r.encode(p);
    p += r.encoded_size();
  }
  store_le(object.data() + kCountOffset, static_cast<std::uint32_t>(records.size()));
  seal_object(object, kDirectoryMagic);
  return object;
}

Status check_directory(std::span<const std::byte> object, const ObjectRef& ref, const Geometry& geometry,
                       std::uint32_t chunk_limit, std::uint32_t next_snapshot_id) {
  if (Status s = verify_object(object, kDirectoryMagic, ref); !s) return s;
  const auto count = load_le<std::uint32_t>(object.data() + kCountOffset);
  if (count == 0 || count > 65535) return corrupt("number of snapshots out of range");
  if (std::any_of(object.begin() + 28, object.begin() + kObjectHeader, [](std::byte b) { return b != std::byte{0}; })) {
    return corrupt("a reserved field is in use");
  }
  TreeCheck tree(std::min<std::size_t>(count, object.size() / SnapshotRecord::kFixedSize));
  std::span<const std::byte> left = object.subspan(kObjectHeader);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (Status s = check_record(left, i, geometry, chunk_limit, next_snapshot_id); !s) return s;
    const StoredRecord record(left.data());
    if (Status s = tree.add(record.id(), record.parent(), record.name()); !s) return s;
    left = left.subspan(record.length());
  }
  if (!left.empty()) return corrupt("bytes behind the last record");
  return tree.finish();
}

Result<std::vector<SnapshotRecord>> decode_directory(std::span<const std::byte> object, const ObjectRef& ref,
                                                     const Geometry& geometry, std::uint32_t chunk_limit,
                                                     std::uint32_t next_snapshot_id) {
  if (Status s = check_directory(object, ref, geometry, chunk_limit, next_snapshot_id); !s) return s;
  std::vector<SnapshotRecord> records;
  records.reserve(load_le<std::uint32_t>(object.data() + kCountOffset));
  for (std::size_t at = kObjectHeader; at < object.size(); at += StoredRecord(object.data() + at).length()) {
    records.push_back(SnapshotRecord::decode(object.data() + at));
  }
  return records;
}

}  // namespace fvd::format
