// Random histories of system calls on a mount against a plain model of what it must hold: buffered, O_DIRECT and mapped
// access, discards, sizes, copies, snapshots, remounts. A history that fails is shrunk.
// FVD_TEST_SEED is the first seed, FVD_TEST_ROUNDS the number of histories, FVD_TEST_STEPS the length of each.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "mount/mount_fixture.h"
#include "support/history.h"

namespace fvd::test {
namespace {

std::string random_bytes(std::size_t size, std::uint64_t seed) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    bytes[i] = static_cast<char>(seed >> 56 | 1U);
  }
  return bytes;
}

std::string first_difference(const std::string& wanted, const std::string& seen) {
  if (wanted == seen) return {};
  if (wanted.size() != seen.size())
    return "has " + std::to_string(seen.size()) + " bytes, not " + std::to_string(wanted.size());
  const auto at = std::mismatch(wanted.begin(), wanted.end(), seen.begin()).first - wanted.begin();
  const auto last = std::mismatch(wanted.rbegin(), wanted.rend(), seen.rbegin()).first - wanted.rbegin();
  return "differs from byte " + std::to_string(at) + " to " +
         std::to_string(static_cast<std::ptrdiff_t>(wanted.size()) - last);
}

// A mapping of a whole file, gone at the end of the scope.
class Mapping {
 public:
  Mapping(const Fd& fd, std::size_t size, int protection)
      : size_(size), at_(::mmap(nullptr, size, protection, MAP_SHARED, fd.get(), 0)) {}
  ~Mapping() {
    if (valid()) ::munmap(at_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  [[nodiscard]] bool valid() const { return at_ != MAP_FAILED; }
  [[nodiscard]] char* data() const { return static_cast<char*>(at_); }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  std::size_t size_;
  void* at_;
};

class ModelTest : public MountTest {
 protected:
  struct Snapshot {
    std::string parent;
    std::string description;
    std::string content;
    bool held = false;
  };

  Verdict run_history(const CreateOptions& options, const History& history);
  Verdict apply(const Step& step, std::size_t number);
  Verdict write(const StepRange& range, const Step& step);
  Verdict read(const StepRange& range, std::uint64_t way);
  Verdict zero(const StepRange& range, bool punch);
  Verdict copy(const std::string& source, std::uint64_t from, std::uint64_t to, std::uint64_t length);
  Verdict resize(std::uint64_t size);
  Verdict remove(const std::string& name);
  Verdict compare();
  Verdict compare_holes();
  Verdict remount(const std::string& options);
  [[nodiscard]] std::string name_of(std::uint64_t choice) const;
  static Verdict failed(const char* what) { return std::string(what) + ": " + strerror(errno); }

  // Readers that stay open while everything changes.
  void open_readers() {
    reader_ = std::make_unique<Fd>(::open(current().c_str(), O_RDONLY | O_CLOEXEC));
    mapping_ = std::make_unique<Mapping>(*reader_, content_.size(), PROT_READ);
  }
  void close_readers() {
    mapping_.reset();
    reader_.reset();
  }

  std::map<std::string, Snapshot> snapshots_;
  std::string parent_;
  std::string content_;  // of current-state
  std::unique_ptr<Fd> reader_;
  std::unique_ptr<Mapping> mapping_;
};

std::string ModelTest::name_of(std::uint64_t choice) const {
  if (snapshots_.empty()) return {};
  return std::next(snapshots_.begin(), static_cast<std::ptrdiff_t>(choice % snapshots_.size()))->first;
}

Verdict ModelTest::write(const StepRange& range, const Step& step) {
  const std::uint64_t way = step.random[0] / 64 % 4;
  const std::uint64_t size = content_.size();
  std::uint64_t offset = range.offset;
  std::uint64_t length = range.length;
  if (way == 1) {  // O_DIRECT: whole sectors
    offset = offset / kSectorSize * kSectorSize;
    length = (length + kSectorSize - 1) / kSectorSize * kSectorSize;
  }
  if (way != 0) {  // only a buffered write is tried across the end
    if (offset >= size) return {};
    length = std::min(length, size - offset);
  }
  const std::string data = random_bytes(length, step.random[3]);
  const Fd fd(::open(current().c_str(), O_RDWR | O_CLOEXEC | (way == 1 ? O_DIRECT : 0)));
  if (fd.get() < 0) return failed("open");
  if (way == 2) {
    const Mapping mapping(fd, size, PROT_READ | PROT_WRITE);
    if (!mapping.valid()) return failed("mmap");
    std::memcpy(mapping.data() + offset, data.data(), length);
  } else {
    void* buffer = nullptr;
    if (::posix_memalign(&buffer, 4096, length) != 0) return "no memory";
    const std::unique_ptr<void, decltype(&std::free)> owner(buffer, &std::free);
    std::memcpy(buffer, data.data(), length);
    const ssize_t written = ::pwrite(fd.get(), buffer, length, static_cast<off_t>(offset));
    if (offset >= size) return written < 0 && errno == ENOSPC ? Verdict() : failed("a write past the end");
    length = std::min(length, size - offset);
    if (written != static_cast<ssize_t>(length)) return failed("pwrite");
    if (way == 3 && ::fdatasync(fd.get()) != 0) return failed("fdatasync");
  }
  content_.replace(offset, length, data, 0, length);
  return {};
}

Verdict ModelTest::read(const StepRange& range, std::uint64_t way) {
  std::uint64_t offset = range.offset;
  std::uint64_t length = range.length;
  if (way == 1) {
    offset = offset / kSectorSize * kSectorSize;
    length = (length + kSectorSize - 1) / kSectorSize * kSectorSize;
  }
  const std::string wanted = offset < content_.size() ? content_.substr(offset, length) : std::string();
  if (way == 2) {
    if (!mapping_->valid() || offset + wanted.size() > mapping_->size()) return {};
    return first_difference(wanted, std::string(mapping_->data() + offset, wanted.size()));
  }
  void* buffer = nullptr;
  if (::posix_memalign(&buffer, 4096, length) != 0) return "no memory";
  const std::unique_ptr<void, decltype(&std::free)> owner(buffer, &std::free);
  const Fd direct(way == 1 ? ::open(current().c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT) : -1);
  const int fd = way == 1 ? direct.get() : reader_->get();
  const ssize_t count = ::pread(fd, buffer, length, static_cast<off_t>(offset));
  if (count < 0) return failed("pread");
  return first_difference(wanted, std::string(static_cast<const char*>(buffer), static_cast<std::size_t>(count)));
}

Verdict ModelTest::zero(const StepRange& range, bool punch) {
  const Fd fd(::open(current().c_str(), O_RDWR | O_CLOEXEC));
  const int mode = FALLOC_FL_KEEP_SIZE | (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
  if (::fallocate(fd.get(), mode, static_cast<off_t>(range.offset), static_cast<off_t>(range.length)) != 0)
    return failed("fallocate");
  if (range.offset >= content_.size()) return {};
  const std::uint64_t length = std::min<std::uint64_t>(range.length, content_.size() - range.offset);
  content_.replace(range.offset, length, length, '\0');
  return {};
}

Verdict ModelTest::copy(const std::string& source, std::uint64_t from, std::uint64_t to, std::uint64_t length) {
  const std::string& old = source.empty() ? content_ : snapshots_[source].content;
  if (from >= old.size() || to >= content_.size()) return {};
  length = std::min({length, old.size() - from, content_.size() - to});
  if (source.empty() && from < to + length && to < from + length) return {};
  const std::string data = old.substr(from, length);
  const Fd in(::open(source.empty() ? current().c_str() : disk(source).c_str(), O_RDONLY | O_CLOEXEC));
  const Fd out(::open(current().c_str(), O_RDWR | O_CLOEXEC));
  auto at = static_cast<off_t>(from);
  auto put = static_cast<off_t>(to);
  for (std::uint64_t left = length; left != 0;) {
    const ssize_t count = ::copy_file_range(in.get(), &at, out.get(), &put, left, 0);
    if (count <= 0) return failed("copy_file_range");
    left -= static_cast<std::uint64_t>(count);
  }
  content_.replace(to, length, data);
  return {};
}

Verdict ModelTest::resize(std::uint64_t size) {
  if (::truncate(current().c_str(), static_cast<off_t>(size)) != 0) return failed("truncate");
  content_.resize(size, '\0');
  return {};
}

Verdict ModelTest::remove(const std::string& name) {
  const bool held = snapshots_[name].held;
  if (::rmdir(snapshot(name).c_str()) != 0) return held && errno == EBUSY ? Verdict() : failed("rmdir");
  if (held) return "a held snapshot was deleted";
  const std::string parent = snapshots_[name].parent;
  snapshots_.erase(name);
  for (auto& [other, one] : snapshots_)
    if (one.parent == name) one.parent = parent;
  if (parent_ == name) parent_ = parent;
  return {};
}

// What is reported as a hole reads as zeros, and extents alternate up to the end.
Verdict ModelTest::compare_holes() {
  const auto size = static_cast<off_t>(content_.size());
  off_t at = 0;
  while (at < size) {
    const off_t data = ::lseek(reader_->get(), at, SEEK_DATA);
    if (data < 0 && errno != ENXIO) return failed("SEEK_DATA");
    const off_t end = data < 0 ? size : data;
    if (end < at || end > size) return "SEEK_DATA answers " + std::to_string(data);
    if (content_.find_first_not_of('\0', static_cast<std::size_t>(at)) < static_cast<std::size_t>(end))
      return "data in the hole at " + std::to_string(at);
    if (end == size) return {};
    at = ::lseek(reader_->get(), end, SEEK_HOLE);
    if (at <= end || at > size) return "SEEK_HOLE answers " + std::to_string(at);
  }
  return {};
}

Verdict ModelTest::compare() {
  if (Verdict verdict = first_difference(content_, read_all(current())); !verdict.empty())
    return "current-state " + verdict;
  std::string kept(content_.size() + 1, '?');
  const ssize_t count = ::pread(reader_->get(), kept.data(), kept.size(), 0);
  kept.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
  if (Verdict verdict = first_difference(content_, kept); !verdict.empty())
    return "current-state through an old descriptor " + verdict;
  if (mapping_->valid()) {
    const std::size_t both = std::min(mapping_->size(), content_.size());
    if (Verdict verdict = first_difference(content_.substr(0, both), std::string(mapping_->data(), both));
        !verdict.empty())
      return "current-state through an old mapping " + verdict;
  }
  if (Verdict verdict = compare_holes(); !verdict.empty()) return verdict;
  if (list(path("snapshots")).size() != snapshots_.size()) return "the list of snapshots is another";
  if (target_of(path("parent")) != (parent_.empty() ? "errno 2" : "snapshots/" + parent_))
    return "current-state has the parent " + target_of(path("parent")) + " and not " + parent_;
  for (const auto& [name, one] : snapshots_) {
    if (Verdict verdict = first_difference(one.content, read_all(disk(name))); !verdict.empty())
      return "snapshot " + name + " " + verdict;
    if (target_of(snapshot(name) + "/parent") != (one.parent.empty() ? "errno 2" : "../" + one.parent))
      return "snapshot " + name + " has another parent than " + one.parent;
    std::string text(4096, '\0');
    const ssize_t length = ::getxattr(snapshot(name).c_str(), "user.fvd.description", text.data(), text.size());
    text.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
    if (text != one.description) return "snapshot " + name + " is described as " + text;
  }
  return {};
}

Verdict ModelTest::remount(const std::string& options) {
  close_readers();
  unmount();
  expect_sound();
  if (HasFailure()) return "it cannot be unmounted, or is not sound";
  mount("-o shrink" + options);
  if (HasFailure()) return "it cannot be mounted";
  open_readers();
  return {};
}

Verdict ModelTest::apply(const Step& step, std::size_t number) {
  using Kind = Step::Kind;
  const auto& random = step.random;
  const StepRange range = range_of(step, content_.size());
  const std::string name = name_of(random[3] / 16);
  switch (step.kind) {
    case Kind::kWrite:
      return write(range, step);
    case Kind::kRead:
      return read(range, random[3] % 3);
    case Kind::kDiscard:
      return zero(range, random[3] % 2 == 0);
    case Kind::kPreallocate: {
      const Fd fd(::open(current().c_str(), O_RDWR | O_CLOEXEC));
      return ::fallocate(fd.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(range.offset),
                         static_cast<off_t>(range.length)) == 0
                 ? Verdict()
                 : failed("fallocate");
    }
    case Kind::kFlush:
      return ::fsync(reader_->get()) == 0 ? Verdict() : failed("fsync");
    case Kind::kSynced:
      for (const SyncedWrite& one : synced_writes_of(step, content_.size())) {
        if (Verdict verdict = write(one.range, step); !verdict.empty()) return verdict;
        if (one.flushed && ::fsync(reader_->get()) != 0) return failed("fsync");
      }
      return {};
    case Kind::kCopy: {
      const std::uint64_t shift = random[3] % 3 << 16;
      const std::uint64_t to = random[3] % 5 == 0 ? random[3] / 5 % content_.size() : range.offset + shift;
      return copy(random[3] % 4 == 0 ? "" : name, range.offset, to, range.length);
    }
    case Kind::kResize:
      return resize(kSectorSize + random[1] % (40U << 16) / kSectorSize * kSectorSize);
    case Kind::kCreate: {
      if (snapshots_.size() >= 8) return {};
      const std::string fresh = "s" + std::to_string(number);
      if (::mkdir(snapshot(fresh).c_str(), 0755) != 0) return failed("mkdir");
      snapshots_[fresh] = {parent_, "", content_, false};
      parent_ = fresh;
      return {};
    }
    case Kind::kGoto:
      if (name.empty()) return {};
      if (::rename(snapshot(name).c_str(), snapshot("current-state").c_str()) != 0) return failed("goto");
      content_ = snapshots_[name].content;
      parent_ = name;
      return {};
    case Kind::kDelete:
      return name.empty() ? Verdict() : remove(name);
    case Kind::kRename: {
      if (name.empty()) return {};
      const std::string fresh = "r" + std::to_string(number);
      if (::rename(snapshot(name).c_str(), snapshot(fresh).c_str()) != 0) return failed("rename");
      snapshots_[fresh] = snapshots_[name];
      snapshots_.erase(name);
      for (auto& [other, one] : snapshots_)
        if (one.parent == name) one.parent = fresh;
      if (parent_ == name) parent_ = fresh;
      return {};
    }
    case Kind::kDescribe: {
      if (name.empty()) return {};
      const std::string text = "text " + std::to_string(random[1] % 100);
      snapshots_[name].description = text;
      return ::setxattr(snapshot(name).c_str(), "user.fvd.description", text.data(), text.size(), 0) == 0
                 ? Verdict()
                 : failed("setxattr");
    }
    case Kind::kHold: {
      if (name.empty() || snapshots_[name].held == (random[1] % 3 == 0)) return {};
      bool& held = snapshots_[name].held;
      held = !held;
      const int result = held ? ::setxattr(snapshot(name).c_str(), "user.fvd.hold", "1", 1, 0)
                              : ::removexattr(snapshot(name).c_str(), "user.fvd.hold");
      return result == 0 ? Verdict() : failed("hold");
    }
    case Kind::kImport:
      return {};
    case Kind::kReopen:
      return remount(random[3] % 3 == 0 ? ",writeback_cache" : "");
    case Kind::kCompare:
      return compare();
    case Kind::kCompact:
      return {};  // the background of a mount does the same
    case Kind::kCut:
    case Kind::kKill:
    case Kind::kError:
      break;
  }
  return "no such step on a mount";
}

Verdict ModelTest::run_history(const CreateOptions& options, const History& history) {
  ::alarm(120);
  create_image(options);
  snapshots_.clear();
  parent_.clear();
  content_.assign(options.virtual_size, '\0');
  mount("-o shrink");
  if (!mounted()) return "no mount";
  open_readers();
  Verdict verdict;
  for (std::size_t i = 0; i < history.size() && verdict.empty(); ++i) {
    verdict = apply(history[i], i);
    if (!verdict.empty()) verdict = "step " + std::to_string(i) + " (" + kind_name(history[i].kind) + "): " + verdict;
  }
  if (verdict.empty()) verdict = compare();
  if (verdict.empty()) verdict = remount("");
  if (verdict.empty()) verdict = compare();
  close_readers();
  if (mounted()) unmount();
  return verdict;
}

TEST_F(ModelTest, TheMountHoldsWhatTheModelHolds) {
  const std::uint64_t first = number_from_environment("FVD_TEST_SEED", 1);
  const std::uint64_t rounds = number_from_environment("FVD_TEST_ROUNDS", 10);
  const HistoryOptions options{.steps = number_from_environment("FVD_TEST_STEPS", 150)};
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) {
    const CreateOptions geometry = random_geometry(seed);
    const History history = random_history(seed, options);
    const Verdict verdict = run_history(geometry, history);
    ASSERT_FALSE(HasFatalFailure()) << "FVD_TEST_SEED=" << seed;
    if (verdict.empty()) continue;
    const auto run_one = [&](const History& one) { return run_history(geometry, one); };
    const History shorter = shrink(history, run_one);
    FAIL() << "FVD_TEST_SEED=" << seed << ": " << verdict << "\nshrunk to " << shorter.size() << " steps on a disk of "
           << geometry.virtual_size << " bytes, chunk " << geometry.chunk_size << ", block " << geometry.block_size
           << ":\n"
           << describe(shorter) << run_one(shorter);
  }
}

}  // namespace
}  // namespace fvd::test
