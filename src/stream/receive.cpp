// Receiving: nothing is believed before its CRC is right, and nothing is visible before the end was seen.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "format/stream.h"
#include "fvd/stream.h"
#include "stream/identity.h"

namespace fvd {
namespace {

using format::StreamHeader;
using format::StreamRecord;
using format::StreamRecordType;
using format::StreamTotals;

Status damaged(const std::string& what) { return {Code::kCorrupt, "the stream is damaged: " + what}; }
Status cut() {
  return {Code::kCorrupt, "the stream ends too early: it was cut off, or its sender failed; send it again"};
}

class Receiver {
 public:
  Receiver(Image& image, const StreamSource& source, const ReceiveOptions& options)
      : image_(image), source_(source), options_(options) {}

  Result<SnapshotId> run() {
    if (Status s = read_header(); !s) return s;
    auto import = begin();
    if (!import) return import.status();
    for (bool end = false; !end;) {
      if (Status s = read_record(); !s) return s;
      if (Status s = apply(**import, &end); !s) return s;
      if (options_.progress) options_.progress(next_, header_.snapshot.virtual_size);
    }
    std::array<std::byte, 1> more;
    auto count = source_(more);
    if (!count) return count.status();
    if (*count != 0) return damaged("something follows its end");
    return (*import)->commit();
  }

 private:
  Status fill(std::span<std::byte> out) {
    while (!out.empty()) {
      auto count = source_(out);
      if (!count) return count.status();
      if (*count == 0) return cut();
      out = out.subspan(std::min(*count, out.size()));
    }
    return Status::ok();
  }

  Status read_header() {
    std::vector<std::byte> bytes(StreamHeader::kPrefixSize);
    if (Status s = fill(bytes); !s) return s;
    const auto length = StreamHeader::length_of(bytes);
    if (!length) return length.status();
    bytes.resize(*length);
    if (Status s = fill(std::span(bytes).subspan(StreamHeader::kPrefixSize)); !s) return s;
    auto header = StreamHeader::decode(bytes);
    if (!header) return header.status();
    header_ = std::move(*header);
    totals_.crc = crc32c(bytes);
    previous_crc_ = StreamHeader::crc_of(bytes);
    return Status::ok();
  }

  Result<std::unique_ptr<SnapshotImport>> begin() {
    const std::vector<SnapshotInfo> snapshots = image_.snapshots();
    if (const auto same = find_identity(snapshots, header_.snapshot); !same.empty()) {
      return Status(Code::kExists, "snapshot \"" + header_.name + "\" is in the image already, as \"" + same[0].name +
                                       "\"; delete that first to receive it again");
    }
    ImportOptions import;
    if (!header_.old.is_none()) {
      const auto old = find_identity(snapshots, header_.old);
      if (old.empty()) return no_base(snapshots);
      if (old.size() > 1) {
        return Status(Code::kBusy, "snapshots \"" + old[0].name + "\" and \"" + old[1].name +
                                       "\" of the image are of the same moment and size, so which of them the stream "
                                       "is relative to cannot be told; delete one, or send a full stream");
      }
      import.base = old[0].id;
    }
    import.name = options_.name.empty() ? header_.name : options_.name;
    import.description = header_.description;
    import.virtual_size = header_.snapshot.virtual_size;
    import.created_seconds = header_.snapshot.created_seconds;
    import.created_nanoseconds = header_.snapshot.created_nanoseconds;
    if (header_.old_is_ancestor) import.parent = import.base;
    if (!header_.parent.is_none()) {
      const auto parent = find_identity(snapshots, header_.parent);
      if (parent.size() == 1) import.parent = parent[0].id;
    }
    return image_.import_snapshot(import);
  }

  Status no_base(const std::vector<SnapshotInfo>& snapshots) const {
    const bool other = std::any_of(snapshots.begin(), snapshots.end(),
                                   [&](const SnapshotInfo& one) { return one.name == header_.old_name; });
    return {other ? Code::kInvalid : Code::kNotFound,
            "the stream holds what changed since snapshot \"" + header_.old_name + "\", and " +
                (other ? "the image's snapshot of that name is another one, taken at another time"
                       : "the image does not have that snapshot") +
                "; receive \"" + header_.old_name + "\" first, or send a full stream"};
  }

  // Reads one record into record_ and buffer_, and verifies it.
  Status read_record() {
    buffer_.resize(StreamRecord::kSize);
    if (Status s = fill(buffer_); !s) return s;
    auto record = StreamRecord::decode(buffer_);
    if (!record) return record.status();
    record_ = *record;
    buffer_.resize(StreamRecord::kSize + record_.payload_size());
    if (Status s = fill(std::span(buffer_).subspan(StreamRecord::kSize)); !s) return s;
    if (!StreamRecord::crc_is_right(buffer_)) return damaged("a record's CRC is wrong");
    if (record_.sequence != totals_.records + 1 || record_.previous_crc != previous_crc_) {
      return damaged("a record is missing, or is another stream's");
    }
    previous_crc_ = record_.crc;
    return Status::ok();
  }

  Status apply(SnapshotImport& import, bool* end) {
    const std::span<const std::byte> payload = std::span(buffer_).subspan(StreamRecord::kSize);
    if (record_.type == StreamRecordType::kEnd) {
      *end = true;
      const auto totals = StreamTotals::decode(payload.data());
      if (!totals) return totals.status();
      return *totals == totals_ ? Status::ok() : damaged("its totals are not those of what came before");
    }
    const std::uint64_t size = header_.snapshot.virtual_size;
    if (record_.offset < next_ || record_.offset > size || record_.length > size - record_.offset) {
      return damaged("a record is out of order, or past the end of the disk");
    }
    const bool data = record_.type == StreamRecordType::kData;
    const Status s = data ? import.write(record_.offset, payload) : import.discard(record_.offset, record_.length);
    if (!s) return s;
    next_ = record_.offset + record_.length;
    ++totals_.records;
    (data ? totals_.data_bytes : totals_.zero_bytes) += record_.length;
    totals_.crc = crc32c(buffer_, totals_.crc);
    return Status::ok();
  }

  Image& image_;
  const StreamSource& source_;
  const ReceiveOptions& options_;
  StreamHeader header_;
  StreamTotals totals_;  // so far
  std::uint32_t previous_crc_ = 0;
  std::uint64_t next_ = 0;  // the disk up to here is done
  StreamRecord record_;
  std::vector<std::byte> buffer_;  // head and payload of a record
};

}  // namespace

Result<SnapshotId> receive_snapshot(Image& image, const StreamSource& source, const ReceiveOptions& options) {
  return Receiver(image, source, options).run();
}

}  // namespace fvd
