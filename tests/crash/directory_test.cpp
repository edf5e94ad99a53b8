// Random snapshot operations on a disk that fails now and then, with a directory of many pages: two places take turns,
// and of the new one only what the place is known not to hold is written. After each operation, whether it went well or
// not, what lies on the disk, and what a power cut leaves of it, is sound and tells of the snapshots before or after.
// FVD_TEST_SEED is the first seed, FVD_TEST_ROUNDS the number of histories.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <string>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 16 * kSmallChunk;

using Directory = std::map<std::string, std::pair<std::string, bool>>;  // name -> description, held

Directory directory_of(const Image& image) {
  Directory all;
  for (const SnapshotInfo& s : image.snapshots()) all[s.name] = {s.description, s.held};
  return all;
}

class History {
 public:
  explicit History(std::uint64_t seed)
      : random_(seed), disk_(make_disk(small_chunks(kSize))), image_(open_disk(*disk_)) {}

  void run(int steps) {
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      do_one();
    }
    import_.reset();
    EXPECT_OK(image_->close());
    inspect(*disk_);
  }

 private:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  std::string text() { return std::string(below(4) == 0 ? below(3) : below(4097), static_cast<char>('a' + below(26))); }
  std::string fresh_name() { return std::string(1 + below(200), 'n') + std::to_string(++number_); }

  void arm() {
    const std::array kinds{Fault::Kind::kError, Fault::Kind::kShortWrite, Fault::Kind::kNoSpace};
    if (below(3) == 0) disk_->arm({.kind = kinds[below(3)], .at = 1 + below(12), .forever = below(6) == 0});
  }

  // Makes after_ what there is if it goes well.
  Status operate() {
    auto any = after_.begin();
    if (!after_.empty()) std::advance(any, below(after_.size()));
    const std::string name = after_.empty() ? "" : any->first;
    switch (after_.size() < 8 ? below(4) : below(12)) {
      case 0:
      case 1:
      case 2: {
        const auto [made, fresh] = after_.try_emplace(fresh_name(), text(), false);
        return image_->snapshot_create(made->first, made->second.first).status();
      }
      case 3:
        import_.reset();  // abandons the one before
        return import(fresh_name(), below(2) == 0);
      case 4:
      case 5:
        any->second.first = text();
        return image_->snapshot_set_description(name, any->second.first);
      case 6: {
        auto node = after_.extract(any);
        node.key() = fresh_name();
        const std::string to = after_.insert(std::move(node)).position->first;
        return image_->snapshot_rename(name, to);
      }
      case 7:
        any->second.second = !any->second.second;
        return image_->snapshot_set_hold(name, any->second.second);
      case 8:
        return image_->snapshot_goto(name);
      case 9:
        return below(3) == 0 ? image_->compact({})
                             : image_->write(below(kSize - 4096), pattern(4096, number_)).status();
      default:
        if (any->second.second) return Status::ok();
        after_.erase(any);
        return image_->snapshot_delete(name);
    }
  }

  Status import(std::string name, bool commit) {
    ImportOptions options;
    options.name = std::move(name);
    options.description = text();
    options.virtual_size = kSize;
    auto begun = image_->import_snapshot(options);
    if (!begun) return begun.status();
    import_ = std::move(*begun);
    Status s = import_->write(0, pattern(3 * kSmallChunk, 1));
    if (!s || !commit) return s;
    after_[options.name] = {options.description, false};
    s = import_->commit().status();
    import_.reset();
    return s;
  }

  void do_one() {
    after_ = before_;
    arm();
    const Status s = operate();
    disk_->disarm();
    SCOPED_TRACE(s.message());
    if (s.is_ok()) before_ = after_;
    const bool failed = image_->read_only();
    if (!failed) {
      EXPECT_TRUE(directory_of(*image_) == before_);
      inspect(*disk_->clone());
      after_ = before_;
    }
    for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, below(1000) + 4})
      inspect(*disk_->reboot(seed));
    if (failed || below(40) == 0) reopen();
  }

  void reopen() {
    import_.reset();
    disk_ = below(2) == 0 ? disk_->clone() : disk_->reboot(below(1000) + 4);
    image_ = open_disk(*disk_);
    ASSERT_NE(image_, nullptr);
    before_ = directory_of(*image_);
  }

  void inspect(CrashDisk& disk) {
    expect_sound(disk);
    OpenOptions options = quiet();
    options.read_only = true;
    const auto image = open_disk(disk, options);
    if (image == nullptr) return;
    const Directory seen = directory_of(*image);
    EXPECT_TRUE(seen == before_ || seen == after_);
  }

  std::mt19937_64 random_;
  std::shared_ptr<CrashDisk> disk_;
  std::unique_ptr<Image> image_;
  std::unique_ptr<SnapshotImport> import_;
  Directory before_;
  Directory after_;
  std::uint64_t number_ = 0;
};

TEST(CrashDirectory, IsWholeWhateverFailed) {
  const std::uint64_t first = environment("FVD_TEST_SEED", 1);
  const std::uint64_t rounds = environment("FVD_TEST_ROUNDS", 12);
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("FVD_TEST_SEED=" + std::to_string(seed));
    History(seed).run(200);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace fvd::test
