#include "support/history.h"

#include <algorithm>
#include <random>

namespace fvd::test {
namespace {

using Kind = Step::Kind;

constexpr std::uint64_t kChunk = 64 << 10;  // the smallest there is

struct Weight {
  Kind kind;
  unsigned weight;
};

constexpr std::array<Weight, 18> kWeights{{{Kind::kWrite, 40},
                                           {Kind::kRead, 12},
                                           {Kind::kDiscard, 7},
                                           {Kind::kPreallocate, 1},
                                           {Kind::kFlush, 10},
                                           {Kind::kSynced, 12},
                                           {Kind::kCopy, 6},
                                           {Kind::kResize, 2},
                                           {Kind::kCreate, 7},
                                           {Kind::kGoto, 3},
                                           {Kind::kDelete, 5},
                                           {Kind::kRename, 1},
                                           {Kind::kDescribe, 1},
                                           {Kind::kHold, 1},
                                           {Kind::kImport, 3},
                                           {Kind::kCompact, 2},
                                           {Kind::kReopen, 2},
                                           {Kind::kCompare, 2}}};

}  // namespace

const char* kind_name(Step::Kind kind) {
  constexpr std::array<const char*, 21> kNames{"write",    "read",   "discard", "preallocate", "flush",  "synced",
                                               "copy",     "resize", "create",  "goto",        "delete", "rename",
                                               "describe", "hold",   "import",  "compact",     "reopen", "compare",
                                               "cut",      "kill",   "error"};
  return kNames[static_cast<std::size_t>(kind)];
}

StepRange range_of(const Step& step, std::uint64_t size) {
  const std::uint64_t mode = step.random[0] % 8;
  std::uint64_t offset = step.random[1] % std::max<std::uint64_t>(size, 1);
  std::uint64_t length = 1 + step.random[2] % 64;
  std::uint64_t unit = 1;
  if (mode == 1) length = 1 + step.random[2] % 10000;
  if (mode == 2) unit = kSectorSize, length = unit * (1 + step.random[2] % 8);
  if (mode == 3 || mode == 4) unit = 4096, length = unit * (1 + step.random[2] % 6);
  if (mode == 5) unit = kChunk, length = unit * (1 + step.random[2] % 2);
  if (mode == 6) unit = 4096, length = kChunk + 1 + step.random[2] % kChunk;
  const bool large = size > 48 * kChunk && step.random[0] / 8 % 4 == 0;
  if (mode == 7) length = 1 + step.random[2] % (large ? 48 * kChunk : 3 * kChunk);
  // Whole chunks are what a copy shares.
  if (step.kind == Kind::kCopy && step.random[0] / 512 % 2 == 0)
    unit = kChunk, length = unit * (1 + step.random[2] % 4);
  offset = offset / unit * unit;
  if (step.random[3] % 16 != 0 && offset < size) length = std::min(length, size - offset);
  return {offset, length};
}

std::vector<SyncedWrite> synced_writes_of(const Step& step, std::uint64_t size) {
  std::vector<SyncedWrite> list;
  const std::uint64_t chunks = std::max<std::uint64_t>(size / kChunk, 1);
  for (std::uint64_t i = 0; i <= step.random[0] % 5; ++i) {
    const std::uint64_t number = step.random[2] >> (12 * i);
    const std::uint64_t chunk = (step.random[1] + number % 2) % chunks;
    std::uint64_t offset = chunk * kChunk + number / 2 % 4 * 4096;
    std::uint64_t length = 4096;
    if (number / 8 % 4 == 1) offset += number / 32 % 8 * kSectorSize, length = kSectorSize;
    if (number / 8 % 4 == 2) offset += number / 32 % 100, length = 1 + number / 32 % 100;
    if (offset >= size) continue;
    list.push_back({{offset, std::min(length, size - offset)}, step.random[3] + i, (step.random[3] >> i) % 4 != 0});
  }
  return list;
}

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
  options.chunk_size = static_cast<std::uint32_t>(kChunk << (random() % 2));
  constexpr std::array<std::uint32_t, 5> kBlocks{512, 1024, 4096, 4096, 16384};
  options.block_size = kBlocks[random() % kBlocks.size()];
  constexpr std::array<std::uint32_t, 6> kJournals{0, 0, 8192, 16384, 65536, 262144};
  options.journal_half_size = kJournals[random() % kJournals.size()];
  options.virtual_size = 2 * kChunk + random() % (30 * kChunk) / kSectorSize * kSectorSize;
  if (seed % 16 == 7) {
    options.chunk_size = kDefaultChunkSize;
    options.virtual_size *= 4;
  }
  return options;
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
