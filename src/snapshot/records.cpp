#include "snapshot/records.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/crc32c.h"
#include "base/endian.h"

namespace fvd {

using format::kObjectHeader;
using format::SnapshotRecord;
using format::StoredRecord;

namespace {

// A segment ends with the record that would make it longer. At most two records' more than that fit an Entry.
constexpr std::size_t kSegmentBytes = 8 << 10;

std::uint16_t hash_of(std::string_view name) {
  return static_cast<std::uint16_t>(crc32c(std::as_bytes(std::span(name.data(), name.size()))));
}

bool is_full(std::size_t bytes, std::size_t record) { return bytes != 0 && bytes + record > kSegmentBytes; }

}  // namespace

void SnapshotRecords::Segment::add(std::span<const std::byte> record) {
  const StoredRecord stored(record.data());
  entries.push_back({static_cast<std::uint16_t>(bytes.size() / 8), hash_of(stored.name())});
  bytes.insert(bytes.end(), record.begin(), record.end());
  lowest_id = std::min(lowest_id, stored.id());
  highest_id = std::max(highest_id, stored.id());
}

SnapshotRecords::SnapshotRecords(std::span<const std::byte> object) {
  for (std::size_t from = kObjectHeader; from < object.size();) {
    std::size_t length = 0;
    std::size_t records = 0;
    for (std::size_t at = from; at < object.size(); at = from + length, ++records) {
      const std::size_t next = StoredRecord(object.data() + at).length();
      if (is_full(length, next)) break;
      length += next;
    }
    auto segment = std::make_shared<Segment>(length);
    segment->entries.reserve(records);
    for (std::size_t at = from; at < from + length;) {
      const std::size_t next = StoredRecord(object.data() + at).length();
      segment->add(object.subspan(at, next));
      at += next;
    }
    segments_.push_back(std::move(segment));
    count_ += records;
    bytes_ += length;
    from += length;
  }
}

std::optional<SnapshotRecord> SnapshotRecords::find(std::string_view name) const {
  const std::uint16_t hash = hash_of(name);
  for (const auto& segment : segments_) {
    for (std::size_t i = 0; i < segment->entries.size(); ++i) {
      if (segment->entries[i].hash != hash) continue;
      const std::byte* record = segment->record(i);
      if (StoredRecord(record).name() == name) return SnapshotRecord::decode(record);
    }
  }
  return std::nullopt;
}

bool SnapshotRecords::holds(std::size_t segment, std::uint32_t id) const {
  return segments_[segment]->lowest_id <= id && id <= segments_[segment]->highest_id;
}

std::optional<SnapshotRecord> SnapshotRecords::find(std::uint32_t id) const {
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    if (!holds(s, id)) continue;
    for (std::size_t i = 0; i < segments_[s]->entries.size(); ++i) {
      const std::byte* record = segments_[s]->record(i);
      if (StoredRecord(record).id() == id) return SnapshotRecord::decode(record);
    }
  }
  return std::nullopt;
}

bool SnapshotRecords::name_table(std::uint32_t first_chunk) const {
  return std::any_of(segments_.rbegin(), segments_.rend(), [&](const auto& segment) {
    for (std::size_t i = segment->entries.size(); i-- > 0;) {
      if (StoredRecord(segment->record(i)).table_chunk() == first_chunk) return true;
    }
    return false;
  });
}

void SnapshotRecords::push_back(const SnapshotRecord& record) {
  std::vector<std::byte> stored(record.encoded_size());
  record.encode(stored.data());
  std::shared_ptr<Segment> last;
  if (segments_.empty() || is_full(segments_.back()->bytes.size(), stored.size())) {
    last = std::make_shared<Segment>(stored.size());
    last->add(stored);
    segments_.push_back(std::move(last));
  } else {
    const Segment& old = *segments_.back();
    last = std::make_shared<Segment>(old.bytes.size() + stored.size());
    last->bytes = old.bytes;
    last->entries.reserve(old.entries.size() + 1);
    last->entries = old.entries;
    last->lowest_id = old.lowest_id;
    last->highest_id = old.highest_id;
    last->add(stored);
    segments_.back() = std::move(last);
  }
  ++count_;
  bytes_ += stored.size();
}

template <typename Change>
void SnapshotRecords::rebuild(std::size_t segment, const Change& change) {
  const std::shared_ptr<const Segment> old = segments_[segment];
  std::vector<std::shared_ptr<Segment>> fresh;
  for (std::size_t i = 0; i < old->entries.size(); ++i) {
    const std::byte* stored = old->record(i);
    const std::vector<std::byte> record = change(std::span(stored, StoredRecord(stored).length()));
    if (record.empty()) continue;
    if (fresh.empty() || is_full(fresh.back()->bytes.size(), record.size())) {
      fresh.push_back(std::make_shared<Segment>(std::max(old->bytes.size(), record.size())));
      fresh.back()->entries.reserve(old->entries.size());
    }
    fresh.back()->add(record);
  }
  count_ -= old->entries.size();
  bytes_ -= old->bytes.size();
  for (const auto& one : fresh) {
    count_ += one->entries.size();
    bytes_ += one->bytes.size();
  }
  const auto at = segments_.erase(segments_.begin() + static_cast<std::ptrdiff_t>(segment));
  segments_.insert(at, fresh.begin(), fresh.end());
}

void SnapshotRecords::replace(const SnapshotRecord& record) {
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    if (!holds(s, record.id)) continue;
    bool found = false;
    rebuild(s, [&](std::span<const std::byte> stored) {
      if (StoredRecord(stored.data()).id() != record.id) return std::vector<std::byte>(stored.begin(), stored.end());
      found = true;
      std::vector<std::byte> changed(record.encoded_size());
      record.encode(changed.data());
      return changed;
    });
    if (found) return;
  }
}

void SnapshotRecords::erase(std::uint32_t id) {
  const auto gone = find(id);
  if (!gone) return;
  for (std::size_t s = segments_.size(); s-- > 0;) {  // from the end: a segment may go
    bool touched = false;
    for (std::size_t i = 0; i < segments_[s]->entries.size() && !touched; ++i) {
      const StoredRecord stored(segments_[s]->record(i));
      touched = stored.id() == id || stored.parent() == id;
    }
    if (!touched) continue;
    rebuild(s, [&](std::span<const std::byte> stored) {
      std::vector<std::byte> kept;
      if (StoredRecord(stored.data()).id() == id) return kept;
      kept.assign(stored.begin(), stored.end());
      if (StoredRecord(kept.data()).parent() == id) store_le(kept.data() + StoredRecord::kParentOffset, gone->parent);
      return kept;
    });
  }
}

std::uint32_t SnapshotRecords::seal(Header* header) const {
  std::vector<std::span<const std::byte>> pieces;
  pieces.reserve(segments_.size());
  for (const auto& segment : segments_) pieces.emplace_back(segment->bytes);
  return format::seal_directory(*header, static_cast<std::uint32_t>(count_), pieces);
}

void SnapshotRecords::copy(std::uint64_t offset, std::span<std::byte> out) const {
  std::uint64_t start = kObjectHeader;  // of the segment, in the object
  for (const auto& segment : segments_) {
    if (out.empty()) return;
    const std::uint64_t end = start + segment->bytes.size();
    if (offset < end) {
      const std::size_t n = std::min<std::uint64_t>(end - offset, out.size());
      std::memcpy(out.data(), segment->bytes.data() + (offset - start), n);
      out = out.subspan(n);
      offset += n;
    }
    start = end;
  }
}

std::uint64_t SnapshotRecords::same_bytes(const SnapshotRecords& other) const {
  const std::size_t both = std::min(segments_.size(), other.segments_.size());
  std::uint64_t same = kObjectHeader;
  std::size_t s = 0;
  for (; s < both && segments_[s] == other.segments_[s]; ++s) same += segments_[s]->bytes.size();
  if (s == both) return same;
  const std::vector<std::byte>& a = segments_[s]->bytes;
  const std::vector<std::byte>& b = other.segments_[s]->bytes;
  const auto differ = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return same + static_cast<std::uint64_t>(differ.first - a.begin());
}

}  // namespace fvd
