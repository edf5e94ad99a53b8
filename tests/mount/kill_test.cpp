// kill -9 of a running daemon under concurrent writers and snapshot operations: what the contract promises is there
// after the next mount, round after round on the same image.
// FVD_TEST_ROUNDS is the number of rounds of each kind, FVD_TEST_SEED the first round's seed.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "mount/counting_writers.h"
#include "mount/mount_fixture.h"
#include "support/counted_writes.h"

namespace fvd::test {
namespace {

using Bounds = CountingWriters::Bounds;
using Base = std::shared_ptr<const std::string>;  // the bytes of a whole disk

// One of the states that the mount may show, apart from current-state's content.
struct World {
  struct Snapshot {
    std::string parent;
    Base base;  // with bounds: what it may hold, until it was looked at; then its exact content
    std::optional<Bounds> bounds;
  };
  std::map<std::string, Snapshot> snapshots;
  std::string parent;
  std::string gone_to;  // goto: current-state holds this snapshot; "" = what the writers wrote

  [[nodiscard]] std::string tree() const {
    std::string text = "current-state<" + parent;
    for (const auto& [name, one] : snapshots) text += " " + name + "<" + one.parent;
    return text;
  }
};

class KillDuringCutTest : public MountTest {};

class KillTest : public MountTest, public ::testing::WithParamInterface<std::tuple<const char*, std::uint32_t>> {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    old_action_ = CountingWriters::survive_failed_stores();
  }
  void TearDown() override {
    MountTest::TearDown();
    (void)::sigaction(SIGBUS, &old_action_, nullptr);
  }

  [[nodiscard]] static bool writeback() { return *std::get<0>(GetParam()) != '\0'; }

  // --- while it runs -------------------------------------------------------------------------------------------
  void operate(std::uint64_t seed);
  bool create(const std::string& name);
  bool go_to_one(const std::string& name);
  bool change(World after, int result, const char* what);
  void sample_commits();

  // --- after the kill ------------------------------------------------------------------------------------------
  void verify();
  std::string judge(const World& world, const std::string& current) const;
  std::string look_at_snapshots();
  [[nodiscard]] World observed_tree();

  const CountedWrites writes_ = CountingWriters::writes();
  World world_;
  std::optional<World> other_;  // if the operation under way did happen
  Base base_;
  std::unique_ptr<CountingWriters> writers_;
  struct sigaction old_action_ {};
  struct Sample {
    std::uint64_t commits;
    Bounds returned;
  };
  std::vector<Sample> samples_;
  unsigned next_name_ = 0;
  std::map<std::string, unsigned> tally_;
};

bool KillTest::change(World after, int result, const char* what) {
  if (result == 0) {
    world_ = std::move(after);
    ++tally_[what];
  } else if (writers_->dying()) {
    other_ = std::move(after);
  } else {
    writers_->fail(std::string(what) + ": " + strerror(errno));
  }
  return result == 0;
}

bool KillTest::create(const std::string& name) {
  World after = world_;
  Bounds bounds = writers_->returned();
  const int result = ::mkdir(snapshot(name).c_str(), 0755);
  const int error = errno;
  for (std::size_t w = 0; w < bounds.size(); ++w) bounds[w].most = writers_->issued(w);
  after.snapshots[name] = {world_.parent, base_, bounds};
  after.parent = name;
  if (result == 0) writers_->note_synced(bounds, true);
  errno = error;
  return change(std::move(after), result, "create");
}

bool KillTest::go_to_one(const std::string& name) {
  // Now and then in the writers' face. Before they have opened the disk it would go through, or refuse them.
  if (next_name_ % 3 == 0) {
    if (!writers_->all_open()) return true;
    if (::rename(snapshot(name).c_str(), snapshot("current-state").c_str()) == 0 && !writers_->dying())
      writers_->fail("goto under writers");
    else
      ++tally_["goto refused"];
    return !writers_->dying();
  }
  writers_->pause();
  World after = world_;
  after.parent = name;
  after.gone_to = name;
  bool gone = change(after, ::rename(snapshot(name).c_str(), snapshot("current-state").c_str()), "goto");
  if (gone) {
    // From here on its content is what the writers' work is compared with.
    const std::string content = read_all(disk(name));
    World::Snapshot& target = world_.snapshots[name];
    std::string wrong;
    if (content.size() == writes_.disk_size()) {
      wrong = target.bounds             ? writes_.judge_cut(content, *target.base, *target.bounds)
              : content == *target.base ? ""
                                        : "snapshot " + name + " has changed";
      base_ = target.base = std::make_shared<const std::string>(content);
      target.bounds.reset();
      world_.gone_to.clear();
      writers_->rebase();
      samples_.clear();
    } else if (!writers_->dying()) {
      wrong = "snapshot " + name + " cannot be read";
    } else {
      gone = false;
    }
    if (!wrong.empty()) writers_->fail(wrong);
  }
  if (gone) writers_->resume();
  return gone;
}

// The counter rises in the middle of a commit. So what had returned when it was c is in commit c + 2, which is done
// when the counter is c + 3; whoever asked for those commits.
void KillTest::sample_commits() {
  const Bounds returned = writers_->returned();
  const std::string text = read_all(path(".fvd/metrics"));
  const std::string name = "\nfvd_commits_total ";
  const std::size_t at = text.find(name);
  if (at == std::string::npos) return;
  const std::uint64_t commits = std::strtoull(text.c_str() + at + name.size(), nullptr, 10);
  samples_.push_back({commits, returned});
  const Sample* last = nullptr;
  for (const Sample& sample : samples_)
    if (sample.commits + 3 <= commits) last = &sample;
  if (last == nullptr) return;
  const Sample covered = *last;
  // What the kernel's own cache holds back has not reached the daemon.
  if (!writeback()) writers_->note_synced(covered.returned, false);
  std::erase_if(samples_, [&](const Sample& sample) { return sample.commits < covered.commits; });
}

void KillTest::operate(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  bool alive = true;
  while (alive && !writers_->dying()) {
    ::usleep(static_cast<useconds_t>(random() % 8000));
    sample_commits();
    std::string victim;
    if (!world_.snapshots.empty())
      victim =
          std::next(world_.snapshots.begin(), static_cast<std::ptrdiff_t>(random() % world_.snapshots.size()))->first;
    const std::uint64_t draw = random() % 16;
    if (victim.empty() || (draw < 8 && world_.snapshots.size() < 8)) {
      alive = create("s" + std::to_string(next_name_++));
    } else if (draw < 12) {
      World after = world_;
      const std::string parent = after.snapshots[victim].parent;
      after.snapshots.erase(victim);
      for (auto& [name, one] : after.snapshots)
        if (one.parent == victim) one.parent = parent;
      if (after.parent == victim) after.parent = parent;
      alive = change(std::move(after), ::rmdir(snapshot(victim).c_str()), "delete");
    } else if (draw < 14) {
      const std::string name = "r" + std::to_string(next_name_++);
      World after = world_;
      after.snapshots[name] = after.snapshots[victim];
      after.snapshots.erase(victim);
      for (auto& [key, one] : after.snapshots)
        if (one.parent == victim) one.parent = name;
      if (after.parent == victim) after.parent = name;
      alive = change(std::move(after), ::rename(snapshot(victim).c_str(), snapshot(name).c_str()), "rename");
    } else {
      ++next_name_;
      alive = go_to_one(victim);
    }
  }
}

World KillTest::observed_tree() {
  const auto parent_of = [](const std::string& link) {
    const std::string target = target_of(link);
    return target.find("errno") == 0 ? std::string() : target.substr(target.rfind('/') + 1);
  };
  World seen;
  seen.parent = parent_of(path("parent"));
  for (const std::string& name : list(path("snapshots")))
    seen.snapshots[name].parent = parent_of(snapshot(name) + "/parent");
  return seen;
}

std::string KillTest::judge(const World& world, const std::string& current) const {
  if (world.gone_to.empty()) return writes_.judge_crash(current, *base_, writers_->synced());
  const World::Snapshot& target = world.snapshots.at(world.gone_to);
  return target.bounds             ? writes_.judge_cut(current, *target.base, *target.bounds)
         : current == *target.base ? ""
                                   : "current-state is not the snapshot that it went to";
}

std::string KillTest::look_at_snapshots() {
  for (auto& [name, one] : world_.snapshots) {
    const std::string content = read_all(disk(name));
    if (!one.bounds) {
      if (content != *one.base) return "snapshot " + name + " has changed";
      continue;
    }
    if (std::string wrong = writes_.judge_cut(content, *one.base, *one.bounds); !wrong.empty())
      return "snapshot " + name + ": " + wrong;
    one.base = std::make_shared<const std::string>(content);
    one.bounds.reset();
  }
  return {};
}

void KillTest::verify() {
  const std::string tree = observed_tree().tree();
  const std::string current = read_all(MountTest::current());
  std::string wrong = tree == world_.tree() ? judge(world_, current) : "the tree is not " + world_.tree();
  if (!wrong.empty() && other_) {
    const std::string wrong_too = tree == other_->tree() ? judge(*other_, current) : "and not " + other_->tree();
    if (wrong_too.empty()) {
      world_ = *other_;
      ++tally_["cut short and done"];
      wrong.clear();
    } else {
      wrong += "; " + wrong_too;
    }
  } else if (other_) {
    ++tally_["cut short and not done"];
  }
  ASSERT_EQ(wrong, "") << tree;
  other_.reset();
  const std::string changed = look_at_snapshots();
  ASSERT_EQ(changed, "");
  world_.gone_to.clear();
  base_ = std::make_shared<const std::string>(current);
}

TEST_P(KillTest, LosesNothingThatWasPromised) {
  CreateOptions options;
  options.virtual_size = writes_.disk_size();
  options.chunk_size = std::get<1>(GetParam());
  options.journal_half_size =
      options.chunk_size == kDefaultChunkSize ? 0 : 16384;  // small: checkpoints come in between
  create_image(options);
  base_ = std::make_shared<const std::string>(writes_.disk_size(), '\0');
  const std::uint64_t first = number_from_environment("FVD_TEST_SEED", 1);
  const std::uint64_t rounds = number_from_environment("FVD_TEST_ROUNDS", 17);
  CountingWriters::Numbers from{};
  mount(std::get<0>(GetParam()));
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("FVD_TEST_SEED=" + std::to_string(seed));
    ::alarm(120);
    samples_.clear();
    writers_ = std::make_unique<CountingWriters>(current(), from);
    std::thread operator_thread([this, seed] { operate(seed); });
    std::thread syncer([this, seed] {
      if (seed % 2 == 0) return;
      const Fd fd(::open(current().c_str(), O_RDONLY | O_CLOEXEC));
      while (!writers_->dying()) {
        const Bounds returned = writers_->returned();
        if (::fsync(fd.get()) == 0) writers_->note_synced(returned, false);
        ::usleep(20000);
      }
    });
    std::mt19937_64 random(seed * 7919);
    ::usleep(static_cast<useconds_t>(5000 + random() % (seed % 8 == 0 ? 800000 : 200000)));
    writers_->expect_errors();
    kill_daemon();
    operator_thread.join();
    syncer.join();
    writers_->resume();
    writers_->stop();
    ASSERT_EQ(writers_->error(), "");
    remove_dead_mount();
    expect_sound();
    mount(std::get<0>(GetParam()));
    if (HasFatalFailure()) return;
    verify();
    if (HasFailure()) return;
    for (std::size_t w = 0; w < from.size(); ++w) from[w] = writers_->issued(w);
  }
  std::cout << "[    kills ] " << rounds;
  for (const auto& [what, count] : tally_) std::cout << ", " << what << " " << count;
  std::cout << ", writes " << std::accumulate(from.begin(), from.end(), std::uint64_t{0}) << '\n';
  writers_.reset();
}

// The daemon's own threads may wait in the kernel for what the daemon itself has to write; dead, it must not wait.
TEST_F(KillDuringCutTest, EndsADaemonThatWaitsForTheKernel) {
  for (int round = 0; round < 12; ++round) {
    mount(round % 2 == 0 ? "" : "-o writeback_cache");
    {
      const Fd fd(::open(current().c_str(), O_RDWR | O_CLOEXEC));
      auto* map = static_cast<char*>(::mmap(nullptr, 16 * kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
      ASSERT_NE(map, MAP_FAILED);
      std::memset(map, 'm', 16 * kMiB);
      std::thread taker([this] { (void)::mkdir(snapshot("s").c_str(), 0755); });
      ::usleep(static_cast<useconds_t>(round) * 1500);
      kill_daemon();
      taker.join();
      ::munmap(map, 16 * kMiB);
    }
    remove_dead_mount();
    expect_sound();
    mount();
    (void)::rmdir(snapshot("s").c_str());
    unmount();
    if (HasFailure()) return;
  }
}

std::string kind_name(const ::testing::TestParamInfo<KillTest::ParamType>& one) {
  if (*std::get<0>(one.param) != '\0') return "Writeback";
  return std::get<1>(one.param) == kDefaultChunkSize ? "LargeChunks" : "SmallChunks";
}

INSTANTIATE_TEST_SUITE_P(Kinds, KillTest,
                         ::testing::Values(std::make_tuple("", 64U << 10), std::make_tuple("", kDefaultChunkSize),
                                           std::make_tuple("-o writeback_cache", 64U << 10)),
                         kind_name);

}  // namespace
}  // namespace fvd::test
