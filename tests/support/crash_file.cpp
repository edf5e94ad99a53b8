#include "support/crash_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <random>
#include <utility>

namespace fvd::test {
namespace {

constexpr std::uint64_t kSector = 512;

Status io_error(const char* operation) {
  return {Code::kIo, std::string("crash-disk: ") + operation + ": Input/output error", EIO};
}

Status no_space(const char* operation) {
  return {Code::kNoSpace, std::string("crash-disk: ") + operation + ": No space left on device", ENOSPC};
}

}  // namespace

// A handle. Everything happens in the disk, under its mutex.
class CrashFile final : public File {
 public:
  explicit CrashFile(std::shared_ptr<CrashDisk> disk) : disk_(std::move(disk)) {}

  Status read(std::uint64_t offset, std::span<std::byte> out) override {
    disk_->call_hook(DiskOperation::kRead);
    std::lock_guard lock(disk_->mutex_);
    if (disk_->begin(DiskOperation::kRead, 0) != CrashDisk::Outcome::kGo) return io_error("read");
    disk_->current_.read(offset, out);
    return {};
  }

  Status write(std::uint64_t offset, std::span<const std::byte> data) override {
    if (data.empty()) return {};
    disk_->call_hook(DiskOperation::kWrite);
    std::lock_guard lock(disk_->mutex_);
    return disk_->change(
        {DiskOperation::kWrite, offset, data.size(),
         std::make_shared<const std::vector<std::byte>>(data.begin(), data.end()), offset + data.size()},
        disk_->current_.missing(offset, data.size()));
  }

  Status write_durably(std::uint64_t offset, std::span<const std::byte> data) override {
    disk_->call_hook(DiskOperation::kWrite);
    std::lock_guard lock(disk_->mutex_);
    const Status s =
        disk_->change({DiskOperation::kWrite, offset, data.size(),
                       std::make_shared<const std::vector<std::byte>>(data.begin(), data.end()), offset + data.size()},
                      disk_->current_.missing(offset, data.size()));
    if (s.is_ok()) disk_->settle(offset, offset + data.size());
    return s;
  }

  Status sync() override {
    Status s = sync_now();
    if (s.is_ok()) disk_->call_hook(DiskOperation::kSynced);
    return s;
  }

  Status zero(std::uint64_t offset, std::uint64_t length) override {
    if (length == 0) return {};
    disk_->call_hook(DiskOperation::kZero);
    std::lock_guard lock(disk_->mutex_);
    return disk_->change({DiskOperation::kZero, offset, length, nullptr, 0}, 0);
  }

  Status reserve(std::uint64_t offset, std::uint64_t length) override {
    disk_->call_hook(DiskOperation::kReserve);
    std::lock_guard lock(disk_->mutex_);
    return disk_->change({DiskOperation::kReserve, offset, length, nullptr, 0},
                         disk_->current_.missing(offset, length));
  }

  Status truncate(std::uint64_t size) override {
    disk_->call_hook(DiskOperation::kTruncate);
    std::lock_guard lock(disk_->mutex_);
    return disk_->change({DiskOperation::kTruncate, size, 0, nullptr, 0}, 0);
  }

  [[nodiscard]] Result<std::uint64_t> size() const override {
    std::lock_guard lock(disk_->mutex_);
    if (disk_->cut_) return io_error("fstat");
    return disk_->current_.size();
  }

  [[nodiscard]] Result<std::uint64_t> allocated() const override {
    std::lock_guard lock(disk_->mutex_);
    if (disk_->cut_) return io_error("fstat");
    return disk_->current_.allocated();
  }

  Result<std::uint64_t> seek_data(std::uint64_t offset, std::uint64_t end) override {
    std::lock_guard lock(disk_->mutex_);
    if (disk_->cut_) return io_error("lseek");
    return disk_->current_.seek_data(offset, end);
  }

  Result<std::uint64_t> seek_hole(std::uint64_t offset, std::uint64_t end) override {
    std::lock_guard lock(disk_->mutex_);
    if (disk_->cut_) return io_error("lseek");
    return disk_->current_.seek_hole(offset, end);
  }

  [[nodiscard]] bool is_block_device() const override { return false; }
  [[nodiscard]] const std::string& path() const override { return path_; }

 private:
  Status sync_now() {
    disk_->call_hook(DiskOperation::kSync);
    std::lock_guard lock(disk_->mutex_);
    switch (disk_->begin(DiskOperation::kSync, 0)) {
      case CrashDisk::Outcome::kGo:
      case CrashDisk::Outcome::kShort:
        break;
      case CrashDisk::Outcome::kFail:
        // As Linux does it: what was pending counts as written back from now on, whether it reached the disk or not.
        CrashDisk::survive(disk_->pending_, disk_->total_ * 7 + 4, &disk_->durable_);
        disk_->pending_.clear();
        return io_error("fdatasync");
      default:
        return io_error("fdatasync");
    }
    // Not a copy of what reads see: what an earlier failed sync lost stays lost.
    for (const auto& change : disk_->pending_) CrashDisk::apply(change, &disk_->durable_);
    disk_->pending_.clear();
    ++disk_->syncs_;
    return {};
  }

  std::shared_ptr<CrashDisk> disk_;
  std::string path_ = "crash-disk";
};

std::shared_ptr<CrashDisk> CrashDisk::make(SparseBytes content) {
  auto disk = std::make_shared<CrashDisk>();
  disk->durable_ = content;
  disk->current_ = std::move(content);
  return disk;
}

std::unique_ptr<File> CrashDisk::open() { return std::make_unique<CrashFile>(shared_from_this()); }

void CrashDisk::arm(const Fault& fault) {
  std::lock_guard lock(mutex_);
  fault_ = fault;
  counted_ = 0;
  operations_ = 0;
  hit_ = false;
}

std::uint64_t CrashDisk::operations() const {
  std::lock_guard lock(mutex_);
  return operations_;
}

std::uint64_t CrashDisk::syncs() const {
  std::lock_guard lock(mutex_);
  return syncs_;
}

bool CrashDisk::is_cut() const {
  std::lock_guard lock(mutex_);
  return cut_;
}

bool CrashDisk::fault_hit() const {
  std::lock_guard lock(mutex_);
  return hit_;
}

DiskOperation CrashDisk::hit_operation() const {
  std::lock_guard lock(mutex_);
  return hit_operation_;
}

void CrashDisk::note_hit(DiskOperation operation) {
  if (!hit_) hit_operation_ = operation;
  hit_ = true;
}

void CrashDisk::set_capacity(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  capacity_ = bytes;
}

void CrashDisk::set_hook(std::function<void(DiskOperation)> hook) {
  std::lock_guard lock(mutex_);
  hook_ = std::move(hook);
}

void CrashDisk::call_hook(DiskOperation operation) {
  std::function<void(DiskOperation)> hook;
  {
    std::lock_guard lock(mutex_);
    hook = hook_;
  }
  if (hook) hook(operation);
}

CrashDisk::Outcome CrashDisk::begin(DiskOperation operation, std::uint64_t allocates) {
  if (cut_) return Outcome::kDead;
  const bool is_read = operation == DiskOperation::kRead;
  if (!is_read) {
    ++operations_;
    ++total_;
  }
  if (is_read == fault_.reads) ++counted_;
  const bool due = is_read == fault_.reads && fault_.kind != Fault::Kind::kNone &&
                   (fault_.forever ? counted_ >= fault_.at : counted_ == fault_.at);
  if (due) {
    switch (fault_.kind) {
      case Fault::Kind::kCut:
        note_hit(operation);
        cut_ = true;
        return Outcome::kCutNow;
      case Fault::Kind::kError:
        note_hit(operation);
        return Outcome::kFail;
      case Fault::Kind::kNoSpace:
        if (allocates != 0) {
          note_hit(operation);
          return Outcome::kFailNoSpace;
        }
        break;
      case Fault::Kind::kShortWrite:
        if (operation == DiskOperation::kWrite) {
          note_hit(operation);
          return Outcome::kShort;
        }
        break;
      case Fault::Kind::kNone:
        break;
    }
  }
  if (allocates != 0 && current_.allocated() + allocates > capacity_) {
    note_hit(operation);
    return Outcome::kFailNoSpace;
  }
  return Outcome::kGo;
}

Status CrashDisk::change(Change change, std::uint64_t allocates) {
  switch (begin(change.kind, allocates)) {
    case Outcome::kGo:
      apply(change, &current_);
      record(change, current_);
      return {};
    case Outcome::kCutNow: {
      SparseBytes after = current_;
      apply(change, &after);
      record(change, after);
      return io_error("power cut");
    }
    case Outcome::kFail:
      apply_partly(change);
      return io_error("write");
    case Outcome::kShort: {
      Change part = change;
      const std::uint64_t stop = (change.offset + change.length / 2) / kSector * kSector;  // no sector in half
      part.length = stop > change.offset ? stop - change.offset : 0;
      part.data = std::make_shared<const std::vector<std::byte>>(
          change.data->begin(), change.data->begin() + static_cast<std::ptrdiff_t>(part.length));
      part.end = part.offset + part.length;
      if (part.length != 0) {
        apply(part, &current_);
        record(part, current_);
      }
      return io_error("short write");
    }
    case Outcome::kFailNoSpace:
      return no_space("write");
    case Outcome::kDead:
      break;
  }
  return io_error("no power");
}

// A failed change: nothing, everything or some sectors of it happened, and that part is pending as any other.
void CrashDisk::apply_partly(const Change& change) {
  const std::uint64_t choice = total_ % 3;
  if (choice == 0) return;
  if (choice == 1 || change.kind != DiskOperation::kWrite) {
    apply(change, &current_);
    record(change, current_);
    return;
  }
  std::mt19937_64 random(total_);
  for (std::uint64_t at = 0; at < change.length;) {
    const std::uint64_t n = std::min(change.length - at, kSector - (change.offset + at) % kSector);
    if (random() % 2 == 0) {
      const auto begin = change.data->begin() + static_cast<std::ptrdiff_t>(at);
      Change part{change.kind, change.offset + at, n,
                  std::make_shared<const std::vector<std::byte>>(begin, begin + static_cast<std::ptrdiff_t>(n)),
                  change.offset + at + n};
      apply(part, &current_);
      record(part, current_);
    }
    at += n;
  }
}

// Makes what a host does to its disk pending: a host caches whole sectors, so the change of a part of one goes to the
// disk with all that was changed in that sector before.
void CrashDisk::record(const Change& change, const SparseBytes& after) {
  const std::uint64_t end = change.offset + change.length;
  if (change.kind == DiskOperation::kWrite) {
    record_sectors(change.offset, end, end, after);
    return;
  }
  if (change.kind != DiskOperation::kZero || (change.offset % kSector == 0 && end % kSector == 0)) {
    pending_.push_back(change);
    return;
  }
  const std::uint64_t first = (change.offset + kSector - 1) / kSector * kSector;
  const std::uint64_t last = end / kSector * kSector;
  if (first >= last) {
    record_sectors(change.offset, end, 0, after);
    return;
  }
  record_sectors(change.offset, first, 0, after);
  pending_.push_back({DiskOperation::kZero, first, last - first, nullptr, 0});
  record_sectors(last, end, 0, after);
}

void CrashDisk::record_sectors(std::uint64_t offset, std::uint64_t end, std::uint64_t grows_to,
                               const SparseBytes& after) {
  if (offset == end) return;
  const std::uint64_t start = offset / kSector * kSector;
  std::vector<std::byte> bytes((end + kSector - 1) / kSector * kSector - start);
  after.read(start, bytes);
  const std::uint64_t length = bytes.size();
  pending_.push_back({DiskOperation::kWrite, start, length,
                      std::make_shared<const std::vector<std::byte>>(std::move(bytes)), grows_to});
}

// What the range holds is durable, whatever becomes of other changes; so nothing that is pending touches it any more.
void CrashDisk::settle(std::uint64_t offset, std::uint64_t end) {
  offset = offset / kSector * kSector;
  end = (end + kSector - 1) / kSector * kSector;
  std::vector<Change> left;
  for (Change& change : pending_) {
    const std::uint64_t change_end = change.offset + change.length;
    const bool is_content = change.kind == DiskOperation::kWrite || change.kind == DiskOperation::kZero;
    if (!is_content || change_end <= offset || change.offset >= end) {
      left.push_back(std::move(change));
      continue;
    }
    const auto keep = [&](std::uint64_t from, std::uint64_t to) {
      if (from >= to) return;
      Change part{change.kind, from, to - from, nullptr, std::min(change.end, to)};
      if (change.data) {
        const auto begin = change.data->begin() + static_cast<std::ptrdiff_t>(from - change.offset);
        part.data =
            std::make_shared<const std::vector<std::byte>>(begin, begin + static_cast<std::ptrdiff_t>(to - from));
      }
      left.push_back(std::move(part));
    };
    keep(change.offset, offset);
    keep(end, change_end);
  }
  pending_ = std::move(left);
  std::vector<std::byte> bytes(end - offset);
  current_.read(offset, bytes);
  durable_.write(offset, bytes);
  ++syncs_;
}

void CrashDisk::apply(const Change& change, SparseBytes* to) {
  switch (change.kind) {
    case DiskOperation::kWrite: {
      const std::uint64_t size = std::max(to->size(), change.end);
      to->write(change.offset, *change.data);
      if (to->size() > size) to->truncate(size);
      break;
    }
    case DiskOperation::kZero:
      to->zero(change.offset, change.length);
      break;
    case DiskOperation::kReserve:
      to->allocate(change.offset, change.length);
      break;
    case DiskOperation::kTruncate:
      to->truncate(change.offset);
      break;
    default:
      break;
  }
}

void CrashDisk::apply_torn(const Change& change, std::uint64_t seed, SparseBytes* to) {
  if (change.kind != DiskOperation::kWrite && change.kind != DiskOperation::kZero) {
    if (seed % 2 == 0) apply(change, to);
    return;
  }
  std::mt19937_64 random(seed);
  const std::uint64_t run = 1 + random() % 16;  // sectors that share one fate
  std::uint64_t sector = 0;
  bool keep = random() % 2 == 0;
  for (std::uint64_t at = 0; at < change.length; ++sector) {
    if (sector % run == 0) keep = random() % 2 == 0;
    const std::uint64_t n = std::min(change.length - at, kSector - (change.offset + at) % kSector);
    if (keep && change.kind == DiskOperation::kWrite) {
      const std::uint64_t size = std::max(to->size(), std::min(change.end, change.offset + at + n));
      to->write(change.offset + at, std::span(*change.data).subspan(at, n));
      if (to->size() > size) to->truncate(size);
    } else if (keep) {
      to->zero(change.offset + at, n);
    }
    at += n;
  }
}

void CrashDisk::survive(const std::vector<Change>& changes, std::uint64_t seed, SparseBytes* to) {
  std::mt19937_64 random(seed);
  constexpr std::array<std::uint64_t, 4> kKeepOfEight{1, 4, 6, 7};
  const std::uint64_t keep_of_eight = kKeepOfEight[random() % kKeepOfEight.size()];
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const bool last = i + 1 == changes.size();
    const std::uint64_t draw = random() % 8;
    const std::uint64_t tear = random();
    if (seed < 4) {
      if (seed == 1 || (seed == 2 && !last) || (seed == 3 && last)) apply(changes[i], to);
    } else if (tear % 4 == 0) {
      apply_torn(changes[i], tear / 4, to);
    } else if (draw < keep_of_eight) {
      apply(changes[i], to);
    }
  }
}

std::shared_ptr<CrashDisk> CrashDisk::reboot(std::uint64_t seed) const {
  std::lock_guard lock(mutex_);
  SparseBytes content = durable_;
  survive(pending_, seed, &content);
  return make(std::move(content));
}

std::shared_ptr<CrashDisk> CrashDisk::clone() const {
  std::lock_guard lock(mutex_);
  return make(current_);
}

}  // namespace fvd::test
