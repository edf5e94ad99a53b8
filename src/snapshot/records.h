// SnapshotRecords: the records of a snapshot directory, as they are stored.
//
// They lie in segments of a few KiB that never change and that copies share. So a copy costs a pointer a segment, a
// change one segment, and two versions know at a glance how far they are the same: of a directory that was written
// before, only the rest need be written. A value; each is for one thread at a time, copies are independent.
#ifndef FVD_SNAPSHOT_RECORDS_H_
#define FVD_SNAPSHOT_RECORDS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "format/directory.h"
#include "format/layout.h"
#include "format/object.h"

namespace fvd {

class SnapshotRecords {
  // A record's place in its segment, in units of 8 bytes, and some bits of its name's hash.
  struct Entry {
    std::uint16_t at = 0;
    std::uint16_t hash = 0;
  };
  struct Segment {
    explicit Segment(std::size_t room) { bytes.reserve(room); }
    void add(std::span<const std::byte> record);
    [[nodiscard]] const std::byte* record(std::size_t i) const { return bytes.data() + std::size_t{entries[i].at} * 8; }

    std::vector<std::byte> bytes;
    std::vector<Entry> entries;
    std::uint32_t lowest_id = 0xFFFFFFFF;
    std::uint32_t highest_id = 0;
  };
  using Segments = std::vector<std::shared_ptr<const Segment>>;

 public:
  // Gives records by value.
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = format::SnapshotRecord;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type*;
    using reference = value_type;

    Iterator(const Segments& segments, std::size_t segment) : segments_(&segments), segment_(segment) {}
    value_type operator*() const { return value_type::decode((*segments_)[segment_]->record(entry_)); }
    Iterator& operator++() {
      if (++entry_ == (*segments_)[segment_]->entries.size()) ++segment_, entry_ = 0;
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    const Segments* segments_;
    std::size_t segment_;
    std::size_t entry_ = 0;
  };

  SnapshotRecords() = default;
  // Of an object that format::check_directory() has passed.
  explicit SnapshotRecords(std::span<const std::byte> object);

  [[nodiscard]] std::size_t size() const { return count_; }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  // In the order in which they came into the image.
  [[nodiscard]] Iterator begin() const { return {segments_, 0}; }
  [[nodiscard]] Iterator end() const { return {segments_, segments_.size()}; }
  [[nodiscard]] std::optional<format::SnapshotRecord> find(std::string_view name) const;
  [[nodiscard]] std::optional<format::SnapshotRecord> find(std::uint32_t id) const;
  // Whether the table object in that chunk is a snapshot's. Found soonest is that of the newest one.
  [[nodiscard]] bool name_table(std::uint32_t first_chunk) const;

  void push_back(const format::SnapshotRecord& record);
  void replace(const format::SnapshotRecord& record);  // the one with its id
  void erase(std::uint32_t id);                        // its children get its parent

  // The directory object.
  [[nodiscard]] std::uint64_t object_size() const { return format::kObjectHeader + bytes_; }
  using Header = std::array<std::byte, format::kObjectHeader>;
  std::uint32_t seal(Header* header) const;  // makes its header; returns its CRC
  // Bytes of it from `offset` on, which is not in the header. REQUIRES offset + out.size() <= object_size().
  void copy(std::uint64_t offset, std::span<std::byte> out) const;
  // So many bytes from its start are the same in both, but for the header.
  [[nodiscard]] std::uint64_t same_bytes(const SnapshotRecords& other) const;

 private:
  // Makes the segment anew from what `change` makes of its records: it is called with each, and gives back none or one
  // record in their stead.
  template <typename Change>
  void rebuild(std::size_t segment, const Change& change);
  [[nodiscard]] bool holds(std::size_t segment, std::uint32_t id) const;

  Segments segments_;  // none is empty
  std::size_t count_ = 0;
  std::uint64_t bytes_ = 0;  // in all segments
};

}  // namespace fvd

#endif  // FVD_SNAPSHOT_RECORDS_H_
