// Power cut at every I/O of every operation: before or after for metadata, old or new for each unsynced sector, exact
// for what was synced and for every snapshot, and a check that finds nothing. The loop is SPDK blobstore's: fail at I/O
// 1, 2, 3, ... until the operation survives.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <iostream>

#include "crash/scenarios.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kMostOperations = 5000;

// The outcomes tried after each cut: the four fixed ones, and some drawn.
std::array<std::uint64_t, 7> survivors_of(std::uint64_t cut_at) {
  const std::uint64_t seed = environment("FVD_TEST_SEED", 1) * 1000003 + cut_at * 64;
  return {seed + 4, 0, 1, 2, 3, seed + 5, seed + 6};
}

// Cuts `act` at each I/O in turn; in the end it survives, and the power goes just after it has returned.
void cut_everywhere(const TrackedImage& start, const std::function<Verdict(TrackedImage&)>& act) {
  std::uint64_t cuts = 0;
  for (std::uint64_t cut_at = 1;; cut_at += stride()) {
    SCOPED_TRACE("power cut at I/O " + std::to_string(cut_at));
    ASSERT_LT(cut_at, kMostOperations) << "the operation never ends";
    TrackedImage image(start);
    ASSERT_NE(image.image(), nullptr);
    image.disk().arm({.kind = Fault::Kind::kCut, .at = cut_at});
    ASSERT_EQ(act(image), "");
    const bool survived = !image.disk().is_cut();
    ASSERT_EQ(image.power_cut(survivors_of(cut_at)), "");
    ++cuts;
    // What was recovered can be worked on, and its own recovery was no half measure.
    ASSERT_EQ(image.write(0, pattern(9000, cut_at)), "");
    ASSERT_EQ(image.flush(), "");
    ASSERT_EQ(image.power_cut(std::array<std::uint64_t, 1>{0}), "");
    if (survived) break;
  }
  std::cout << "[     cuts ] " << cuts << " operations cut, " << cuts * 8 << " disks inspected\n";
}

class PowerCut : public ::testing::TestWithParam<std::size_t> {};

TEST_P(PowerCut, AtEveryOperation) {
  const Scenario& scenario = scenarios()[GetParam()];
  cut_everywhere(start_of(scenario), scenario.act);
}

TEST_P(PowerCut, AtEveryOperationWithACheckpointInBetween) {
  const Scenario& scenario = scenarios()[GetParam()];
  cut_everywhere(start_of(scenario, JournalSize::kTwoBatches), scenario.act);
}

INSTANTIATE_TEST_SUITE_P(Operations, PowerCut, ::testing::Range<std::size_t>(0, scenarios().size()),
                         [](const auto& one) { return scenarios()[one.param].name; });

TEST(PowerCutCheckpoint, AtEveryOperation) {
  cut_everywhere(image_before_checkpoint(), [](TrackedImage& image) {
    return run_steps(image, {[](TrackedImage& one) { return one.write(4 * kSmallChunk, pattern(4096, 1)); },
                             [](TrackedImage& one) { return one.flush(); },
                             [](TrackedImage& one) { return one.write(kSmallChunk + 40960, pattern(9000, 2)); },
                             [](TrackedImage& one) { return one.flush(); },
                             [](TrackedImage& one) { return one.discard(0, kSmallChunk); },
                             [](TrackedImage& one) { return one.flush(); }});
  });
}

// On a full disk new tables, counts and directories go where space is held for them, or lent by the idle journal half.
TEST(PowerCutFullDisk, AtEveryOperation) {
  const auto use_up = [](TrackedImage& one) {
    one.disk().set_capacity(*one.disk().open()->allocated());
    return Verdict();
  };
  const auto remove = [](const std::string& name) { return [name](TrackedImage& one) { return one.remove(name); }; };
  const auto flush = [](TrackedImage& one) { return one.flush(); };
  const auto discard = [](std::uint64_t chunk, std::uint64_t length) {
    return [=](TrackedImage& one) { return one.discard(chunk * kSmallChunk, length); };
  };
  const auto space_again = [](TrackedImage& one) {
    one.disk().set_capacity(UINT64_MAX);
    return Verdict();
  };
  for (const JournalSize journal : {JournalSize::kDefault, JournalSize::kTwoBatches}) {
    SCOPED_TRACE("held");
    cut_everywhere(starting_image(journal), [&](TrackedImage& image) {
      return run_steps(
          image, {[](TrackedImage& one) { return one.write(kSharedComplete * kSmallChunk, pattern(9000, 2)); }, flush,
                  use_up, discard(kOwnedComplete, kSmallChunk), flush, discard(8, 8192), flush, discard(9, kSmallChunk),
                  flush, use_up, remove("s3"), remove("s1"), flush, space_again});
    });
    SCOPED_TRACE("lent");
    cut_everywhere(starting_image(journal), [&](TrackedImage& image) {
      return run_steps(image, {use_up, remove("s3"), use_up, remove("s2"), flush, space_again});
    });
  }
}

// Each recovery is cut as well, at every I/O, and so is the recovery after that.
TEST(PowerCutRecovery, RecoveryThatIsCutRecovers) {
  const auto act = [](TrackedImage& image) {
    return run_steps(image,
                     {[](TrackedImage& one) { return one.write(2 * kSmallChunk, pattern(5000, 3)); },
                      [](TrackedImage& one) { return one.flush(); }, [](TrackedImage& one) { return one.close(); }});
  };
  for (std::uint64_t first = 1; first < kMostOperations; first += stride()) {
    bool survived_first = true;
    for (std::uint64_t second = 1; second < kMostOperations; second += stride()) {
      SCOPED_TRACE("cuts at I/O " + std::to_string(first) + " and then " + std::to_string(second));
      TrackedImage image(starting_image());
      image.disk().arm({.kind = Fault::Kind::kCut, .at = first});
      ASSERT_EQ(act(image), "");
      survived_first = !image.disk().is_cut();
      ASSERT_EQ(image.power_cut(std::array<std::uint64_t, 1>{first * 100 + second}), "");
      image.disk().arm({.kind = Fault::Kind::kCut, .at = second});
      ASSERT_EQ(act(image), "");
      const bool survived_second = !image.disk().is_cut();
      ASSERT_EQ(image.power_cut(survivors_of(first * 100 + second)), "");
      if (survived_second) break;
    }
    if (survived_first) break;
  }
}

// But for data that the journal alone has, which goes to its place.
TEST(PowerCutOpen, OpeningChangesNothing) {
  for (const JournalSize journal : {JournalSize::kDefault, JournalSize::kTwoBatches}) {
    TrackedImage image(unclean_image(journal));
    const auto disk = image.disk().clone();
    std::atomic<int> changes = 0;
    disk->set_hook([&changes](DiskOperation operation) {
      changes += operation != DiskOperation::kRead && operation < DiskOperation::kSync ? 1 : 0;
    });
    const auto opened = open_disk(*disk);
    ASSERT_NE(opened, nullptr);
    EXPECT_EQ(difference(image.world().current, read_all(*opened)), "");
    EXPECT_EQ(changes, journal == JournalSize::kDefault ? 1 : 0);
    // Who must not write reads it from there.
    changes = 0;
    OpenOptions read_only = quiet();
    read_only.read_only = true;
    const auto again = disk->clone();
    again->set_hook([&changes](DiskOperation operation) { changes += operation != DiskOperation::kRead ? 1 : 0; });
    auto reader = Image::open_on(again->open(), read_only);
    ASSERT_OK(reader);
    EXPECT_EQ(difference(image.world().current, read_all(**reader)), "");
    EXPECT_EQ(changes, 0);
  }
}

}  // namespace
}  // namespace fvd::test
