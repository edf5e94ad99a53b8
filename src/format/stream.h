// The snapshot stream: header, records, END. docs/stream-format.md is the specification. Pure: bytes in, structs out.
#ifndef FVD_FORMAT_STREAM_H_
#define FVD_FORMAT_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "format/layout.h"

namespace fvd::format {

// What tells a snapshot from all others, in every image: time of creation and size. The id is for messages.
struct StreamIdentity {
  static constexpr std::size_t kSize = 24;
  std::uint64_t virtual_size = 0;  // bytes
  std::int64_t created_seconds = 0;
  std::uint32_t created_nanoseconds = 0;
  std::uint32_t id = 0;  // 0 = there is no such snapshot

  [[nodiscard]] bool is_none() const { return id == 0; }
  [[nodiscard]] bool same_snapshot(const StreamIdentity& other) const {
    return virtual_size == other.virtual_size && created_seconds == other.created_seconds &&
           created_nanoseconds == other.created_nanoseconds;
  }
  void encode(std::byte* out) const;                  // kSize bytes
  static StreamIdentity decode(const std::byte* in);  // kSize bytes, unchecked
};

struct StreamHeader {
  static constexpr std::size_t kFixedSize = 144;
  static constexpr std::size_t kPrefixSize = 16;  // enough for length_of()
  static constexpr std::uint64_t kIncremental = 1ULL << 0;
  static constexpr std::uint32_t kFlagAncestor = 1U << 0;

  Uuid uuid{};
  StreamIdentity snapshot;
  StreamIdentity old;     // none unless the stream is incremental
  StreamIdentity parent;  // none when the snapshot has no parent
  bool old_is_ancestor = false;
  std::string name;
  std::string description;
  std::string old_name;
  std::string parent_name;

  // The header, sealed.
  [[nodiscard]] std::vector<std::byte> encode() const;
  // Bytes of the header that begins with these kPrefixSize; kCorrupt or kUnsupported when it is none of ours.
  static Result<std::size_t> length_of(std::span<const std::byte> prefix);
  // The whole header, `in` being length_of() bytes; every "must" is checked.
  static Result<StreamHeader> decode(std::span<const std::byte> in);
  static std::uint32_t crc_of(std::span<const std::byte> header);
};

enum class StreamRecordType : std::uint32_t { kData = 1, kZeros = 2, kEnd = 3 };

struct StreamRecord {
  static constexpr std::size_t kSize = 40;
  static constexpr std::uint64_t kMaxData = 1U << 20;  // bytes of payload

  std::uint32_t crc = 0;
  StreamRecordType type = StreamRecordType::kData;
  std::uint64_t sequence = 0;
  std::uint32_t previous_crc = 0;
  std::uint64_t offset = 0;  // bytes
  std::uint64_t length = 0;  // bytes

  [[nodiscard]] std::size_t payload_size() const {
    return type == StreamRecordType::kZeros ? 0 : static_cast<std::size_t>(length);
  }
  // Writes the record's kSize bytes in front of its payload and returns its CRC; `record` holds both.
  std::uint32_t seal(std::span<std::byte> record) const;
  // Checks what a record can be checked for alone, its payload's CRC not yet. `in` is kSize bytes.
  static Result<StreamRecord> decode(std::span<const std::byte> in);
  // Whether `record` (head and payload) has the CRC that it says.
  static bool crc_is_right(std::span<const std::byte> record);
};

// The payload of END.
struct StreamTotals {
  static constexpr std::size_t kSize = 32;
  std::uint64_t records = 0;
  std::uint64_t data_bytes = 0;
  std::uint64_t zero_bytes = 0;
  std::uint32_t crc = 0;  // of everything before the END record

  bool operator==(const StreamTotals&) const = default;
  void encode(std::byte* out) const;                        // kSize bytes
  static Result<StreamTotals> decode(const std::byte* in);  // kSize bytes
};

}  // namespace fvd::format

#endif  // FVD_FORMAT_STREAM_H_
