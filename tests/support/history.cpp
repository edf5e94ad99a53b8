#include "support/history.h"

#include <algorithm>
#include <random>

namespace fvd::test {
namespace {

using Kind = Step::Kind;

struct Weight {
  Kind kind;
  unsigned weight;
};

constexpr std::array<Weight, 15> kWeights{{{Kind::kWrite, 40},
                                           {Kind::kRead, 12},
                                           {Kind::kDiscard, 7},
                                           {Kind::kPreallocate, 1},
                                           {Kind::kFlush, 10},
                                           {Kind::kCopy, 6},
                                           {Kind::kResize, 2},
                                           {Kind::kCreate, 7},
                                           {Kind::kGoto, 3},
                                           {Kind::kDelete, 5},
                                           {Kind::kRename, 1},
                                           {Kind::kDescribe, 1},
                                           {Kind::kHold, 1},
                                           {Kind::kReopen, 2},
                                           {Kind::kCompare, 2}}};

const char* kind_name(Kind kind) {
  constexpr std::array<const char*, 18> kNames{"write",  "read",   "discard", "preallocate", "flush",  "copy",
                                               "resize", "create", "goto",    "delete",      "rename", "describe",
                                               "hold",   "reopen", "compare", "cut",         "kill",   "error"};
  return kNames[static_cast<std::size_t>(kind)];
}

struct Range {
  std::uint64_t offset;
  std::uint64_t length;
};

// Odd, sector, block and chunk alignments; a byte to a few chunks; now and then across the end.
Range range_of(const Step& step, std::uint64_t size) {
  const std::uint64_t mode = step.random[0] % 8;
  std::uint64_t offset = step.random[1] % std::max<std::uint64_t>(size, 1);
  std::uint64_t length = 1 + step.random[2] % 64;
  std::uint64_t unit = 1;
  if (mode == 1) length = 1 + step.random[2] % 10000;
  if (mode == 2) unit = kSectorSize, length = unit * (1 + step.random[2] % 8);
  if (mode == 3 || mode == 4) unit = 4096, length = unit * (1 + step.random[2] % 6);
  if (mode == 5) unit = kSmallChunk, length = unit * (1 + step.random[2] % 2);
  if (mode == 6) unit = 4096, length = kSmallChunk + 1 + step.random[2] % kSmallChunk;
  if (mode == 7) length = 1 + step.random[2] % (3 * kSmallChunk);
  offset = offset / unit * unit;
  if (step.random[3] % 16 != 0 && offset < size) length = std::min(length, size - offset);
  return {offset, length};
}

// Applies steps one after the other, and deals with the faults that they run into.
class Runner {
 public:
  Runner(const CreateOptions& options, Tally* tally) : image_(options), tally_(tally) {}

  Verdict run(const History& history) {
    if (image_.image() == nullptr) return "no image";
    for (std::size_t i = 0; i < history.size(); ++i) {
      number_ = i;
      Verdict verdict = apply(history[i]);
      if (verdict.empty()) verdict = after_step(history[i]);
      if (!verdict.empty()) return "step " + std::to_string(i) + " (" + kind_name(history[i].kind) + "): " + verdict;
    }
    return finish();
  }

 private:
  Verdict finish() {
    if (cut_armed_) {
      if (Verdict verdict = cut(); !verdict.empty()) return "cut at the end: " + verdict;
    }
    image_.disk().disarm();
    if (image_.image()->read_only()) {
      if (Verdict verdict = image_.killed(); !verdict.empty()) return "at the end: " + verdict;
    }
    if (Verdict verdict = image_.compare(); !verdict.empty()) return "compare at the end: " + verdict;
    if (Verdict verdict = image_.close(); !verdict.empty()) return verdict;
    if (const auto findings = check_findings(*image_.disk().open()); !findings.empty()) return "check: " + findings;
    if (Verdict verdict = image_.open(); !verdict.empty()) return verdict;
    if (Verdict verdict = image_.compare(); !verdict.empty()) return "compare after reopening: " + verdict;
    return {};
  }

  Verdict apply(const Step& step) {
    const auto& random = step.random;
    const std::uint64_t size = image_.size();
    const Range range = range_of(step, size);
    const std::string name = image_.snapshot_name(random[3] / 16);
    const bool room = image_.world().snapshots.size() < 12;
    switch (step.kind) {
      case Kind::kWrite:
        return image_.write(range.offset, pattern(range.length, random[3]));
      case Kind::kRead:
        return image_.read(range.offset, range.length);
      case Kind::kDiscard:
        return image_.discard(range.offset, range.length);
      case Kind::kPreallocate:
        return image_.preallocate(range.offset, range.length);
      case Kind::kFlush:
        return image_.flush();
      case Kind::kCopy: {
        const std::string source = random[3] % 4 == 0 ? "" : name;
        // Mostly alike in the chunks, so that sharing happens.
        const std::uint64_t shift = random[3] % 3 * kSmallChunk;
        const std::uint64_t to = random[3] % 5 == 0 ? random[3] / 5 % size : range.offset + shift;
        return image_.copy(source, range.offset, to, range.length);
      }
      case Kind::kResize: {
        const std::uint64_t most = 40 * kSmallChunk;
        return image_.resize(kSectorSize + random[1] % most / kSectorSize * kSectorSize);
      }
      case Kind::kCreate:
        return room ? image_.create("s" + std::to_string(number_), random[3] % 4 == 0 ? "taken" : "") : Verdict();
      case Kind::kGoto:
        return name.empty() ? Verdict() : image_.go_to(name);
      case Kind::kDelete:
        return name.empty() ? Verdict() : image_.remove(name);
      case Kind::kRename:
        return name.empty() ? Verdict() : image_.rename(name, "r" + std::to_string(number_));
      case Kind::kDescribe:
        return name.empty() ? Verdict() : image_.describe(name, "text " + std::to_string(random[1] % 100));
      case Kind::kHold:
        return name.empty() ? Verdict() : image_.hold(name, random[1] % 3 == 0);
      case Kind::kReopen: {
        const Verdict verdict = image_.close();
        if (!verdict.empty() || image_.disk().is_cut()) return verdict;
        if (image_.last_code() != Code::kOk) return image_.killed();
        // On a copy: a fault that is armed is for the image, not for the check.
        if (auto findings = check_findings(*image_.disk().clone()->open()); !findings.empty()) {
          return "check: " + findings;
        }
        return image_.open();
      }
      case Kind::kCompare:
        return image_.compare();
      case Kind::kKill:
        return image_.disk().is_cut() ? Verdict() : image_.killed();
      case Kind::kCut:
        if (cut_armed_) {
          if (Verdict verdict = cut(); !verdict.empty()) return verdict;
        }
        cut_armed_ = true;
        cut_seed_ = random[2];
        image_.disk().arm({.kind = Fault::Kind::kCut, .at = 1 + random[1] % 24});
        return {};
      case Kind::kError:
        if (cut_armed_) return {};
        image_.disk().arm({.kind = random[2] % 4 == 0 ? Fault::Kind::kShortWrite : Fault::Kind::kError,
                           .at = 1 + random[1] % 12,
                           .reads = random[2] % 4 == 1});
        return {};
    }
    return {};
  }

  Verdict after_step(const Step& step) {
    if (image_.disk().is_cut()) return cut();
    if (step.kind == Kind::kKill) cut_armed_ = false;
    if (!image_.disk().fault_hit()) return {};
    if (tally_ != nullptr) ++tally_->errors;
    image_.disk().disarm();
    if (image_.image() == nullptr) return image_.killed();
    if (Verdict verdict = image_.compare(); !verdict.empty()) return "after an error: " + verdict;
    // A reopen recovers what turned read-only, in this process's view of the disk or after a power cut on top.
    if (!image_.image()->read_only()) return {};
    return step.random[3] % 2 == 0 ? image_.killed() : cut();
  }

  Verdict cut() {
    const std::array<std::uint64_t, 4> seeds{cut_seed_ % 2 == 0 ? 4 + cut_seed_ : cut_seed_ / 2 % 4, 0, 1,
                                             5 + cut_seed_};
    cut_armed_ = false;
    if (tally_ != nullptr) {
      ++tally_->cuts;
      tally_->survivors += seeds.size();
    }
    return image_.power_cut(seeds);
  }

  TrackedImage image_;
  Tally* tally_;
  std::size_t number_ = 0;
  bool cut_armed_ = false;
  std::uint64_t cut_seed_ = 0;
};

}  // namespace

History random_history(std::uint64_t seed, const HistoryOptions& options) {
  std::mt19937_64 random(seed);
  std::vector<Weight> weights(kWeights.begin(), kWeights.end());
  if (options.cuts) {
    weights.push_back({Kind::kCut, 16});
    weights.push_back({Kind::kKill, 1});
  }
  if (options.errors) weights.push_back({Kind::kError, 12});
  unsigned total = 0;
  for (const auto& one : weights) total += one.weight;
  History history(options.steps);
  for (auto& step : history) {
    std::uint64_t draw = random() % total;
    auto it = weights.begin();
    while (draw >= it->weight) draw -= (it++)->weight;
    step.kind = it->kind;
    for (auto& number : step.random) number = random();
  }
  return history;
}

CreateOptions random_geometry(std::uint64_t seed) {
  std::mt19937_64 random(seed ^ 0x6F6D6574727967ULL);
  CreateOptions options;
  options.chunk_size = static_cast<std::uint32_t>(kSmallChunk << (random() % 2));
  constexpr std::array<std::uint32_t, 5> kBlocks{512, 1024, 4096, 4096, 16384};
  options.block_size = kBlocks[random() % kBlocks.size()];
  constexpr std::array<std::uint32_t, 4> kJournals{0, 8192, 16384, 65536};
  options.journal_half_size = kJournals[random() % kJournals.size()];
  options.virtual_size = 2 * kSmallChunk + random() % (30 * kSmallChunk) / kSectorSize * kSectorSize;
  return options;
}

Verdict run_history(const CreateOptions& options, const History& history, Tally* tally) {
  Runner runner(options, tally);
  return runner.run(history);
}

History shrink(History history, const std::function<Verdict(const History&)>& run) {
  std::size_t budget = 400;
  for (std::size_t length = std::max<std::size_t>(history.size() / 2, 1); budget != 0;) {
    bool shorter = false;
    for (std::size_t at = 0; at < history.size() && budget != 0;) {
      History candidate = history;
      const auto begin = candidate.begin() + static_cast<std::ptrdiff_t>(at);
      candidate.erase(begin, begin + static_cast<std::ptrdiff_t>(std::min(length, history.size() - at)));
      --budget;
      if (!run(candidate).empty()) {
        history = std::move(candidate);
        shorter = true;
      } else {
        at += length;
      }
    }
    if (length == 1 && !shorter) break;
    length = std::max<std::size_t>(length / 2, 1);
  }
  return history;
}

std::string describe(const History& history) {
  std::string text;
  for (const auto& step : history) {
    text += std::string("  {") + kind_name(step.kind);
    for (const auto number : step.random) text += ", " + std::to_string(number);
    text += "}\n";
  }
  return text;
}

}  // namespace fvd::test
