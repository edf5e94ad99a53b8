// Sending. The next record is made when the one before it has been read, so that a stream costs little memory: one
// record, and as much of the disk as it holds, of each of the snapshots.
//
// What may differ from the older snapshot is found from metadata, which tells whole chunks of chunks that were
// completed in the background. So what is read of them is compared, and only what does differ is sent.
#include <algorithm>
#include <cstring>
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

constexpr std::uint64_t kGrain = 4096;  // equal data is left out in these steps
// So much is compared without a record, or in one call that has something to give, so that none takes long.
constexpr std::uint64_t kMostCompared = 16U << 20;

bool all_zero(std::span<const std::byte> bytes) {
  return !bytes.empty() && bytes[0] == std::byte{0} &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

class Sender final : public SendStream {
 public:
  // `old` and `diff`: null where everything is sent.
  Sender(StreamHeader header, std::shared_ptr<StateReader> state, std::shared_ptr<StateReader> old,
         std::unique_ptr<StateDiff> diff)
      : header_(std::move(header)),
        state_(std::move(state)),
        old_(std::move(old)),
        diff_(std::move(diff)),
        size_(state_->virtual_size()) {
    record_ = header_.encode();
    previous_crc_ = StreamHeader::crc_of(record_);
  }

  Result<std::size_t> read(std::span<std::byte> out) override {
    std::size_t total = 0;
    const std::uint64_t start = compared_;
    while (total < out.size() && !(over_ && given_ == record_.size())) {
      if (total > 0 && compared_ - start >= kMostCompared) break;
      if (given_ == record_.size()) {
        if (Status s = failure_ ? next_record() : failure_; !s) {
          failure_ = s;
          return s;
        }
      }
      const std::size_t n = std::min(out.size() - total, record_.size() - given_);
      std::memcpy(out.data() + total, record_.data() + given_, n);
      given_ += n;
      total += n;
    }
    return total;
  }
  [[nodiscard]] std::uint64_t position() const override { return at_; }
  [[nodiscard]] std::uint64_t virtual_size() const override { return size_; }

 private:
  // What comes next of the disk: [at_, end) is to be sent, as data or as zeros, or is left out.
  struct Piece {
    enum class Kind : std::uint8_t { kSkip, kZero, kData } kind = Kind::kSkip;
    std::uint64_t end = 0;
  };

  Result<Piece> piece_at(std::uint64_t offset) const {
    std::uint64_t end = size_;
    if (diff_) {
      auto run = diff_->run(offset);
      if (!run) return run.status();
      end = std::min(end, offset + run->length);
      if (!run->differs) return Piece{Piece::Kind::kSkip, end};
    }
    auto extent = state_->extent(offset);
    if (!extent) return extent.status();
    // Extents of the host need not end on a sector's edge.
    end = std::min(end, (offset + extent->length + kSectorSize - 1) / kSectorSize * kSectorSize);
    if (!extent->data && extent->length >= kSectorSize) {
      end = std::min(end, (offset + extent->length) / kSectorSize * kSectorSize);
      return Piece{diff_ ? Piece::Kind::kZero : Piece::Kind::kSkip, end};
    }
    return Piece{Piece::Kind::kData, end};
  }

  // One record for as many neighbouring pieces of a kind as fit.
  Status next_record() {
    totals_.crc = crc32c(record_, totals_.crc);
    given_ = 0;
    while (at_ < size_) {
      if (at_ < window_start_ + window_.size()) {
        if (record_from_window()) return Status::ok();
        continue;
      }
      auto piece = piece_at(at_);
      if (!piece) return piece.status();
      const bool data = piece->kind == Piece::Kind::kData;
      std::uint64_t end = piece->end;
      while (end < size_ && !(data && end - at_ >= StreamRecord::kMaxData)) {
        auto next = piece_at(end);
        if (!next) return next.status();
        if (next->kind != piece->kind) break;
        end = next->end;
      }
      if (data) {
        if (Status s = look_at(at_, std::min(end, at_ + StreamRecord::kMaxData)); !s) return s;
        continue;
      }
      const std::uint64_t from = std::exchange(at_, end);
      if (piece->kind == Piece::Kind::kZero) {
        zero(from, end - from);
        return Status::ok();
      }
    }
    over_ = true;
    record_.resize(StreamRecord::kSize + StreamTotals::kSize);
    totals_.records = sequence_;
    totals_.encode(record_.data() + StreamRecord::kSize);
    seal(StreamRecordType::kEnd, 0, StreamTotals::kSize);
    return Status::ok();
  }

  // Reads [from, end) for the records that follow.
  Status look_at(std::uint64_t from, std::uint64_t end) {
    window_start_ = from;
    window_.resize(end - from);
    auto count = state_->read(from, window_);
    if (!count) return count.status();
    if (*count != window_.size()) return {Code::kCorrupt, "a snapshot is shorter than its size"};
    old_window_.clear();
    if (old_ == nullptr) return Status::ok();
    old_window_.resize(window_.size());
    auto old_count = old_->read(from, old_window_);
    old_window_.resize(old_count ? *old_count : 0);  // what cannot be compared is sent
    compared_ += window_.size();
    // A record that need not be keeps the reader from waiting for long.
    if (compared_ - compared_at_record_ >= kMostCompared && old_window_.size() >= kGrain)
      old_window_.resize(old_window_.size() - kGrain);
    return Status::ok();
  }

  // Whether the grain that begins there is what the older snapshot has; and where it ends.
  bool is_old(std::uint64_t offset, std::uint64_t* end) const {
    const std::uint64_t at = offset - window_start_;
    const std::uint64_t length = std::min<std::uint64_t>(kGrain, window_.size() - at);
    *end = offset + length;
    return at + length <= old_window_.size() && std::memcmp(&window_[at], &old_window_[at], length) == 0;
  }

  // A record of the next run of what was looked at that is new; false when none is left, or needed for it.
  bool record_from_window() {
    const std::uint64_t window_end = window_start_ + window_.size();
    std::uint64_t end = at_;
    while (at_ < window_end && is_old(at_, &end)) at_ = end;
    const std::uint64_t from = at_;
    while (at_ < window_end && !is_old(at_, &end)) at_ = end;
    if (at_ == from) return false;
    const std::span<const std::byte> run = std::span(window_).subspan(from - window_start_, at_ - from);
    if (all_zero(run)) {
      if (diff_ == nullptr) return false;
      zero(from, run.size());
      return true;
    }
    record_.resize(StreamRecord::kSize + run.size());
    std::memcpy(record_.data() + StreamRecord::kSize, run.data(), run.size());
    totals_.data_bytes += run.size();
    seal(StreamRecordType::kData, from, run.size());
    return true;
  }

  void zero(std::uint64_t offset, std::uint64_t length) {
    record_.resize(StreamRecord::kSize);
    totals_.zero_bytes += length;
    seal(StreamRecordType::kZeros, offset, length);
  }

  void seal(StreamRecordType type, std::uint64_t offset, std::uint64_t length) {
    StreamRecord record;
    record.type = type;
    record.sequence = ++sequence_;
    record.previous_crc = previous_crc_;
    record.offset = offset;
    record.length = length;
    previous_crc_ = record.seal(record_);
    compared_at_record_ = compared_;
  }

  const StreamHeader header_;
  const std::shared_ptr<StateReader> state_;
  const std::shared_ptr<StateReader> old_;
  const std::unique_ptr<StateDiff> diff_;
  const std::uint64_t size_;
  std::vector<std::byte> record_;  // the header at first
  std::size_t given_ = 0;          // bytes of it
  std::uint64_t at_ = 0;           // of the disk
  std::uint64_t window_start_ = 0;
  std::vector<std::byte> window_;      // what was read of the disk from there on, and may still be to be sent
  std::vector<std::byte> old_window_;  // the same of the older snapshot, as far as it could be read
  std::uint64_t compared_ = 0;         // bytes in all
  std::uint64_t compared_at_record_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint32_t previous_crc_ = 0;
  StreamTotals totals_;
  bool over_ = false;  // the record is the last
  Status failure_;
};

bool is_ancestor(const Image& image, SnapshotId ancestor, SnapshotId of) {
  for (auto info = image.find_snapshot(of); info && info->parent != 0; info = image.find_snapshot(info->parent)) {
    if (info->parent == ancestor) return true;
  }
  return false;
}

}  // namespace

Result<std::unique_ptr<SendStream>> SendStream::open(Image& image, SnapshotId snapshot, SnapshotId since) {
  if (snapshot == since) return Status(Code::kInvalid, "a snapshot has no changes since itself");
  auto state = image.open_snapshot(snapshot);
  if (!state) return state.status();
  std::shared_ptr<StateReader> before;
  std::unique_ptr<StateDiff> diff;
  if (since != 0) {
    auto older = image.open_snapshot(since);
    if (!older) return older.status();
    before = std::move(*older);
    auto opened = image.open_diff(since, snapshot);
    if (!opened) return opened.status();
    diff = std::move(*opened);
  }
  const auto info = image.find_snapshot(snapshot);
  if (!info) return Status(Code::kNotFound, "there is no such snapshot");
  StreamHeader header;
  header.uuid = format::uuid_of(image.info().uuid);
  header.snapshot = identity_of(*info);
  header.name = info->name;
  header.description = info->description;
  if (const auto parent = image.find_snapshot(info->parent)) {
    header.parent = identity_of(*parent);
    header.parent_name = parent->name;
  }
  if (const auto old = image.find_snapshot(since)) {
    header.old = identity_of(*old);
    header.old_name = old->name;
    header.old_is_ancestor = is_ancestor(image, since, snapshot);
    if (header.old.same_snapshot(header.snapshot)) {
      return Status(Code::kInvalid, "snapshots \"" + old->name + "\" and \"" + info->name +
                                        "\" were taken at the same moment and cannot be told apart in a stream");
    }
  }
  return std::unique_ptr<SendStream>(
      std::make_unique<Sender>(std::move(header), std::move(*state), std::move(before), std::move(diff)));
}

}  // namespace fvd
