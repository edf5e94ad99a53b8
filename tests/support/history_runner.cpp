#include "support/history_runner.h"

namespace fvd::test {
namespace {

using Kind = Step::Kind;

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
    const StepRange range = range_of(step, size);
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
      case Kind::kSynced:
        return synced_writes(step, size);
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
      case Kind::kImport:
        return room ? import(step, name) : Verdict();
      case Kind::kCompact:
        return image_.compact();
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

  Verdict synced_writes(const Step& step, std::uint64_t size) {
    for (const SyncedWrite& one : synced_writes_of(step, size)) {
      if (Verdict verdict = image_.write(one.range.offset, pattern(one.range.length, one.seed)); !verdict.empty()) {
        return verdict;
      }
      if (image_.disk().is_cut() || !one.flushed) continue;
      if (Verdict verdict = image_.flush(); !verdict.empty()) return verdict;
    }
    return {};
  }

  // On a snapshot or on zeros, of its size or another; now and then abandoned.
  Verdict import(const Step& step, const std::string& name) {
    const auto& random = step.random;
    const std::string base = random[3] % 4 == 0 ? "" : name;
    std::uint64_t size = image_.size();
    for (const auto& [key, snapshot] : image_.world().snapshots) {
      if (snapshot.name == base && random[1] % 2 == 0) size = snapshot.content->size();
    }
    if (random[1] % 7 == 3) size = kSectorSize + random[2] % (40 * kSmallChunk) / kSectorSize * kSectorSize;
    std::vector<TrackedImage::ImportPiece> pieces(random[0] % 5);
    std::uint64_t seed = random[2];
    for (auto& piece : pieces) {
      Step one{Kind::kWrite, {}};
      for (auto& number : one.random) number = seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
      for (auto& number : one.random) number >>= 20;  // the low bits of such numbers repeat soon
      const StepRange range = range_of(one, size);
      if (range.offset >= size) continue;
      piece.offset = range.offset;
      const std::uint64_t length = std::min(range.length, size - range.offset);
      if (seed >> 60 < 5) {
        piece.zeros = length;
      } else {
        piece.data = pattern(length, seed);
      }
    }
    return image_.import("i" + std::to_string(number_), base, size, pieces, random[3] / 4 % 8 != 0);
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

Verdict run_history(const CreateOptions& options, const History& history, Tally* tally) {
  Runner runner(options, tally);
  return runner.run(history);
}

}  // namespace fvd::test
