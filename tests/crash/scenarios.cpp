#include "crash/scenarios.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <utility>

namespace fvd::test {
namespace {

using Step = std::function<Verdict(TrackedImage&)>;

constexpr std::uint64_t at(std::uint64_t chunk, std::uint64_t inside = 0) { return chunk * kSmallChunk + inside; }

void demand(const Verdict& verdict) {
  if (!verdict.empty()) throw std::runtime_error("preparing an image: " + verdict);
}

std::unique_ptr<TrackedImage> build_start(JournalSize journal) {
  CreateOptions options = small_chunks(kStartSize);
  if (journal == JournalSize::kTwoBatches) options.journal_half_size = 8192;
  if (journal == JournalSize::kSmall) options.journal_half_size = 65536;
  auto image = std::make_unique<TrackedImage>(options);
  demand(image->write(at(kSharedComplete), pattern(kSmallChunk, 1)));
  demand(image->write(at(kSharedPartial, 8192), pattern(12288, 2)));
  demand(image->write(at(kDiscarded), pattern(kSmallChunk, 3)));
  demand(image->write(at(kOwnedOverShared), pattern(kSmallChunk, 4)));
  demand(image->write(at(8), pattern(2 * kSmallChunk + 700, 5)));
  demand(image->create("s4", "the first"));
  demand(image->create("s1"));
  demand(image->write(at(7, 4096), pattern(5000, 6)));
  demand(image->create("s3"));
  demand(image->write(at(8, 100), pattern(5000, 7)));
  demand(image->go_to("s1"));
  demand(image->write(at(9, 4096), pattern(30000, 8)));
  demand(image->create("s2"));
  demand(image->hold("s4", true));
  demand(image->write(at(kOwnedComplete), pattern(kSmallChunk, 9)));
  demand(image->write(at(kOwnedPartial, 4096), pattern(8192, 10)));
  demand(image->write(at(kOwnedOverShared, 16384), pattern(4096, 11)));
  demand(image->discard(at(kDiscarded), kSmallChunk));
  demand(image->flush());
  demand(image->close());
  return image;
}

std::unique_ptr<TrackedImage> build_unclean(JournalSize journal) {
  auto image = std::make_unique<TrackedImage>(starting_image(journal));
  demand(image->write(at(kEmptyChunk, 512), pattern(20000, 20)));
  demand(image->flush());
  demand(image->write(at(kSharedComplete, 4096), pattern(4096, 21)));
  demand(image->discard(at(kOwnedComplete), kSmallChunk));
  demand(image->flush());
  demand(image->write(at(kOwnedPartial, 20000), pattern(3000, 22)));
  demand(image->killed());
  return image;
}

std::unique_ptr<TrackedImage> build_over_base(JournalSize journal) {
  static const TemporaryDirectory kDirectory;
  CreateOptions options = small_chunks(kStartSize);
  if (journal == JournalSize::kTwoBatches) options.journal_half_size = 8192;
  // So long a path that the superblock's sectors behind the first change with it.
  const std::string directory = kDirectory.file(std::string(200, 'd') + "/" + std::string(200, 'e'));
  std::filesystem::create_directories(directory);
  options.base_path = directory + "/base";
  // Data, and zeros in a chunk, over a chunk, and at the end, where the base is smaller than the disk.
  Bytes base = pattern(at(8, 700), 100);
  std::fill(base.begin() + at(4), base.begin() + at(5), std::byte{0});
  std::fill(base.begin() + at(5, 4096), base.begin() + at(5, 20480), std::byte{0});
  std::ofstream(options.base_path, std::ios::binary)
      .write(reinterpret_cast<const char*>(base.data()), static_cast<std::streamsize>(base.size()));
  auto image = std::make_unique<TrackedImage>(options);
  demand(image->write(at(0, 4096), pattern(5000, 30)));
  demand(image->write(at(1), pattern(kSmallChunk, 31)));
  demand(image->write(at(4, 8192), pattern(4096, 32)));
  demand(image->create("s1"));
  demand(image->write(at(6, 4096), pattern(4096, 33)));
  demand(image->create("s3"));
  demand(image->go_to("s1"));
  demand(image->write(at(0, 20480), pattern(4096, 34)));
  demand(image->discard(at(7), kSmallChunk));
  demand(image->create("s2"));
  demand(image->write(at(0, 40960), pattern(4096, 35)));
  demand(image->write(at(2, 512), pattern(512, 36)));
  demand(image->write(at(8), pattern(512, 37)));
  demand(image->flush());
  demand(image->close());
  return image;
}

std::unique_ptr<TrackedImage> build_long_directory(JournalSize journal) {
  auto image = std::make_unique<TrackedImage>(starting_image(journal));
  for (const char* name : {"s4", "s1", "s3", "s2"}) demand(image->describe(name, std::string(4000, name[1])));
  demand(image->close());
  return image;
}

// One synced write that needs a journal record: each time another block of the same partial chunks.
Verdict small_commit(TrackedImage& image, std::uint64_t number) {
  const std::uint64_t block = number % 32;
  const std::uint64_t offset = at(block % 2 == 0 ? kEmptyChunk : kOwnedPartial, (block / 2) * 4096);
  Verdict verdict = number % 64 == 63 ? image.discard(at(kEmptyChunk), kSmallChunk) : Verdict();
  if (verdict.empty()) verdict = image.write(offset, pattern(4096, 1000 + number));
  return verdict.empty() ? image.flush() : verdict;
}

std::unique_ptr<TrackedImage> build_before_checkpoint() {
  std::uint64_t needed = 0;
  {
    TrackedImage trial(starting_image(JournalSize::kSmall));
    const std::uint64_t before = metric(*trial.image(), "fvd_checkpoints_total");
    while (metric(*trial.image(), "fvd_checkpoints_total") == before) {
      demand(small_commit(trial, needed++));
      if (needed > 20000) throw std::runtime_error("no checkpoint after 20,000 commits");
    }
  }
  auto image = std::make_unique<TrackedImage>(starting_image(JournalSize::kSmall));
  for (std::uint64_t i = 0; i + 1 < needed; ++i) demand(small_commit(*image, i));
  demand(image->killed());
  return image;
}

Step write(std::uint64_t offset, std::uint64_t length, std::uint64_t seed) {
  return [=](TrackedImage& image) { return image.write(offset, pattern(length, seed)); };
}

Step flush() {
  return [](TrackedImage& image) { return image.flush(); };
}

Step create(std::string name) {
  return [name = std::move(name)](TrackedImage& image) { return image.create(name); };
}

Step remove(std::string name) {
  return [name = std::move(name)](TrackedImage& image) { return image.remove(name); };
}

Step go_to(std::string name) {
  return [name = std::move(name)](TrackedImage& image) { return image.go_to(name); };
}

Step steps(std::vector<Step> list) {
  return [list = std::move(list)](TrackedImage& image) { return run_steps(image, list); };
}

// Something unsynced of every kind before what follows.
Step dirty(Step then) {
  return steps({write(at(kOwnedComplete, 512), 1024, 90), write(at(kEmptyChunk, 100), 9000, 91),
                write(at(kSharedComplete, 8192), 4096, 92),
                [](TrackedImage& image) { return image.discard(at(kOwnedPartial), kSmallChunk); }, std::move(then)});
}

// Imports over each kind of chunk of a base, in pieces that meet chunks more than once.
using Piece = TrackedImage::ImportPiece;

std::vector<Piece> import_pieces() {
  return {{at(kSharedComplete, 8192), pattern(4096, 80)},
          {at(kSharedPartial, 300), pattern(20000, 81)},
          {at(kEmptyChunk, 512), pattern(9000, 82)},
          {at(kOwnedOverShared), pattern(kSmallChunk, 83)},
          {at(kSharedComplete, 20480), {}, 9000},
          {at(8), {}, kSmallChunk},
          {at(9, 4096), pattern(30000, 84)},
          {at(kEmptyChunk, 0), {}, kSmallChunk}};
}

Step import(const std::string& base, std::uint64_t size, std::vector<Piece> pieces, bool commit = true) {
  return [=](TrackedImage& image) { return image.import("imported", base, size, pieces, commit); };
}

// `then` needs the snapshot to be there, which an I/O error may have prevented.
Step if_there(const std::string& name, Step then) {
  return [=, then = std::move(then)](TrackedImage& image) {
    return image.image()->find_snapshot(name) && !image.image()->read_only() ? then(image) : Verdict();
  };
}
Step if_imported(Step then) { return if_there("imported", std::move(then)); }

// While it lasts, everything else goes on.
Step import_beside_others() {
  return [](TrackedImage& image) {
    std::vector<Piece> pieces = import_pieces();
    const auto beside = [&](std::size_t piece, Step step) {
      pieces[piece].between = [&image, step = std::move(step)] {
        return image.disk().is_cut() || image.image() == nullptr ? Verdict() : step(image);
      };
    };
    beside(1, steps({write(at(kSharedComplete, 8192), 4096, 85), write(at(kEmptyChunk), 4096, 86), flush()}));
    beside(2, create("beside"));
    beside(3, remove("s3"));
    beside(4, steps({[](TrackedImage& one) { return one.discard(at(kOwnedComplete), kSmallChunk); }, flush(),
                     write(at(kOwnedOverShared), kSmallChunk, 87)}));
    beside(5, go_to("s1"));
    if (Verdict verdict = image.import("imported", "s2", kStartSize, pieces); !verdict.empty()) return verdict;
    return run_steps(image,
                     {if_imported(steps({go_to("imported"), write(at(kSharedComplete, 12288), 4096, 88)})), flush()});
  };
}

std::vector<Scenario> build_scenarios() {
  std::vector<Scenario> list;
  const auto add_write = [&list](const std::string& name, std::uint64_t offset, std::uint64_t length) {
    list.push_back({name, steps({write(offset, length, 50), flush(), write(offset, length, 51), flush()})});
  };
  add_write("WriteOwnedComplete", at(kOwnedComplete, 8192), 4096);
  add_write("WriteOwnedPartial", at(kOwnedPartial, 32768), 8192);
  add_write("WriteOwnedOverShared", at(kOwnedOverShared, 20480), 4096);
  add_write("WriteSharedComplete", at(kSharedComplete, 8192), 4096);
  add_write("WriteSharedPartial", at(kSharedPartial, 8192), 4096);
  add_write("WriteEmpty", at(kEmptyChunk, 4096), 4096);
  add_write("WriteDiscarded", at(kDiscarded, 4096), 4096);
  add_write("WriteUnaligned", at(kSharedComplete, 8192 + 300), 1);
  add_write("WriteAcrossChunks", at(kSharedComplete, 60000), 20000);
  add_write("WriteWholeChunkEmpty", at(kEmptyChunk), kSmallChunk);
  add_write("WriteWholeChunkShared", at(kSharedComplete), kSmallChunk);
  add_write("WriteWholeChunkOwned", at(kOwnedComplete), kSmallChunk);
  add_write("WriteLastChunk", kStartSize - 3 * kSectorSize, 3 * kSectorSize);

  const auto discard = [](std::uint64_t offset, std::uint64_t length) {
    return steps({[=](TrackedImage& image) { return image.discard(offset, length); }, flush(), write(offset, 4096, 52),
                  flush()});
  };
  list.push_back({"DiscardOwned", discard(at(kOwnedComplete), kSmallChunk)});
  list.push_back({"DiscardShared", discard(at(kSharedComplete), kSmallChunk)});
  list.push_back({"DiscardPartOfShared", discard(at(kSharedComplete, 4096), 8192)});
  list.push_back({"DiscardPartOfOwned", discard(at(kOwnedComplete, 1000), 9000)});
  list.push_back({"DiscardEverything", discard(0, kStartSize)});
  list.push_back(
      {"DiscardThenReuse", steps({[](TrackedImage& image) { return image.discard(0, kStartSize); }, flush(),
                                  write(at(kEmptyChunk), 3 * kSmallChunk, 53), write(at(9, 512), 512, 54), flush()})});

  const auto resize = [](std::uint64_t size) { return [=](TrackedImage& image) { return image.resize(size); }; };
  list.push_back({"Grow", resize(20 * kSmallChunk)});
  list.push_back({"Shrink", resize(kSmallChunk + 512)});
  list.push_back({"ShrinkThenGrow", steps({resize(at(kSharedComplete, 512)), resize(kStartSize)})});
  list.push_back({"Copy", steps({[](TrackedImage& image) { return image.copy("s3", 0, 0, kStartSize); }, flush(),
                                 write(at(8, 4096), 4096, 55), flush()})});
  list.push_back(
      {"CopyTwiceThenDelete",
       steps({[](TrackedImage& image) { return image.copy("s3", at(8), at(0), kSmallChunk); },
              [](TrackedImage& image) { return image.copy("s3", at(8), at(1), kSmallChunk); }, flush(), remove("s3"),
              write(at(0, 4096), 4096, 56), flush(), remove("s1"), write(at(1), 4096, 57), flush()})});
  // Chunks that only the mapping on the disk still names when the snapshot goes.
  list.push_back(
      {"OverwriteSharedThenDelete",
       steps({write(at(kSharedComplete), kSmallChunk, 64), write(at(kOwnedOverShared), kSmallChunk, 65), remove("s3"),
              remove("s2"), remove("s1"), [](TrackedImage& image) { return image.hold("s4", false); }, remove("s4")})});
  list.push_back({"ImportBesideOthers", import_beside_others()});
  list.push_back(
      {"ImportSmallerThanBase", steps({import("s2", at(kSharedComplete, 512), {}), if_imported(go_to("imported")),
                                       resize(kStartSize), write(at(kEmptyChunk), 4096, 89), flush()})});
  list.push_back({"ImportThenDelete", steps({import("s3", kStartSize, import_pieces()), remove("s3"),
                                             write(at(8), 4096, 79), if_imported(remove("imported")), flush()})});
  // With a small journal the shrink's own commit finds it full.
  list.push_back({"ShrinkWithAFullJournal",
                  steps({write(at(kEmptyChunk, 4096), 4096, 66), flush(), write(at(kEmptyChunk, 12288), 4096, 67),
                         flush(), resize(at(kSharedComplete, 512)), write(at(0, 8192), 4096, 68), flush()})});
  list.push_back(
      {"Preallocate", steps({[](TrackedImage& image) { return image.preallocate(0, kStartSize); }, flush()})});

  // Small synced writes, whose data goes into the journal, and what may come after them.
  const auto add_synced = [&list](const std::string& name, std::vector<Step> then) {
    then.insert(then.begin(), {write(at(kSharedComplete, 8192), 4096, 100), write(at(kEmptyChunk, 4096), 4096, 101),
                               write(at(kOwnedPartial, 8192), 700, 102), flush()});
    list.push_back({"Synced" + name, steps(std::move(then))});
  };
  const Step again =
      steps({write(at(kEmptyChunk, 4096), 4096, 103), write(at(kSharedComplete, 8704), 512, 104), flush()});
  const Step much = write(at(8), 2 * kSmallChunk, 105);
  const Step to_chunk = write(at(kEmptyChunk, 4096), 4096, 106);
  add_synced("Again", {again, to_chunk, write(at(kOwnedComplete, 512), 512, 107), flush(), again, to_chunk});
  add_synced("InPlace", {write(at(kOwnedComplete, 512), 512, 107), flush(), write(at(kOwnedComplete, 512), 512, 108)});
  add_synced("ThenMuch", {again, much, to_chunk, flush(), again, much, to_chunk, flush(), to_chunk});
  add_synced("ThenDiscard", {[](TrackedImage& image) { return image.discard(at(kEmptyChunk), kSmallChunk); }, flush(),
                             write(at(kDiscarded), kSmallChunk, 109), flush(), to_chunk, flush(), to_chunk});
  // Into new chunks at the end of the file, which are known to read as zeros.
  add_synced("ThenElsewhere",
             {resize(30 * kSmallChunk), write(at(12), 14 * kSmallChunk, 114), flush(),
              write(at(kDiscarded, 4096), 4096, 111), flush(), write(at(26, 4096), 4096, 115), flush(),
              [](TrackedImage& image) { return image.discard(at(kDiscarded), kSmallChunk); }, flush(),
              write(at(kDiscarded, 20480), 4096, 112), flush(), write(at(kDiscarded, 20480), 512, 113)});
  add_synced("ThenPunch",
             {[](TrackedImage& image) { return image.discard(at(kEmptyChunk, 4096), 2048); }, flush(), again});
  add_synced("ThenCopy", {[](TrackedImage& image) { return image.copy("s3", at(8), at(kEmptyChunk), kSmallChunk); },
                          flush(), to_chunk, flush()});
  add_synced("ThenRename", {[](TrackedImage& image) { return image.rename("s2", "golden"); }, again, to_chunk});
  add_synced("ThenDelete", {remove("s3"), again, remove("s2"), again, remove("s1"), again, much, flush()});
  add_synced("ThenCreate", {create("new"), again, create("newer"), to_chunk, flush()});
  add_synced("ThenGoto", {go_to("s3"), again, to_chunk, go_to("s1"), again});
  add_synced("ThenGrow", {resize(20 * kSmallChunk), again, write(at(15), 4096, 110), flush()});
  add_synced("ThenShrink", {resize(at(kEmptyChunk, 4096)), again, resize(kStartSize), again});
  add_synced("ThenImport", {import("s2", kStartSize, import_pieces()), again, if_imported(go_to("imported")), again});
  add_synced("ThenCompact", {[](TrackedImage& image) { return image.compact(); }, again, to_chunk});
  add_synced("ThenPreallocate",
             {[](TrackedImage& image) { return image.preallocate(0, kStartSize); }, flush(), again, to_chunk});
  add_synced("ThenClose", {[](TrackedImage& image) { return image.close(); }});
  add_synced("ThenKill", {to_chunk, [](TrackedImage& image) { return image.killed(); }, to_chunk, again, to_chunk, much,
                          flush(), [](TrackedImage& image) { return image.killed(); }, again, to_chunk});

  for (const bool unsynced : {false, true}) {
    const std::string suffix = unsynced ? "AfterUnsyncedWrites" : "";
    const auto add = [&](const std::string& name, Step step) {
      list.push_back({name + suffix, unsynced ? dirty(std::move(step)) : std::move(step)});
    };
    add("Create", create("new"));
    add("CreateTwice", steps({create("new"), write(at(kOwnedComplete), 4096, 60), create("newer")}));
    add("GotoParent", go_to("s2"));
    add("GotoRoot", steps({go_to("s4"), write(at(kSharedComplete), 4096, 61), flush()}));
    add("GotoLeaf", steps({go_to("s3"), create("s5")}));
    add("DeleteLeaf", remove("s3"));
    add("DeleteMiddle", remove("s1"));
    add("DeleteParentOfCurrent", remove("s2"));
    add("DeleteAllThenWrite",
        steps({remove("s3"), remove("s1"), remove("s2"), write(0, 4 * kSmallChunk, 62), flush()}));
    add("DeleteHeld", steps({[](TrackedImage& image) { return image.hold("s4", false); }, remove("s4")}));
    add("Rename", [](TrackedImage& image) { return image.rename("s2", "golden"); });
    add("Describe", [](TrackedImage& image) { return image.describe("s2", std::string(4000, 'x')); });
    add("Hold", [](TrackedImage& image) { return image.hold("s2", true); });
    add("ImportOnBase", import("s2", kStartSize, import_pieces()));
    add("ImportFromZeros", import("", 12 * kSmallChunk, import_pieces()));
    add("ImportAbandoned", steps({import("s2", kStartSize, import_pieces(), false), flush(),
                                  write(at(kEmptyChunk, 4096), 4096, 69), flush()}));
    add("Close", [](TrackedImage& image) { return image.close(); });
    add("CloseAndReopen",
        steps({[](TrackedImage& image) { return image.close(); }, [](TrackedImage& image) { return image.open(); },
               write(at(kEmptyChunk), 4096, 63), flush()}));
    add("Flush", flush());
  }

  const auto add_recovery = [&list](const std::string& name, Step step) {
    list.push_back({name, std::move(step), true});
  };
  add_recovery("RecoverThenClose", [](TrackedImage& image) { return image.close(); });
  add_recovery("RecoverThenWrite",
               steps({write(at(kEmptyChunk, 30000), 9000, 70), flush(), write(0, 700, 71), flush()}));
  add_recovery("RecoverThenCreate", create("new"));
  add_recovery("RecoverThenGoto", go_to("s1"));
  add_recovery("RecoverThenDelete", remove("s2"));
  add_recovery("RecoverThenDiscard", discard(0, kStartSize));

  // Of a directory in the place of the last but one, only some pages are written.
  const auto describe = [](const std::string& name, std::size_t length) {
    return [=](TrackedImage& image) { return image.describe(name, std::string(length, 'z')); };
  };
  const auto add_long_directory = [&list](const std::string& name, Step step) {
    list.push_back({name, std::move(step), false, false, true});
  };
  add_long_directory("LongDirectoryGrowsAtItsEnd",
                     steps({create("a"), create("b"), create("c"), if_there("c", remove("c")), create("d"),
                            if_there("d", describe("d", 4096)), create("e")}));
  add_long_directory("LongDirectoryChangesWithin",
                     steps({create("a"), describe("s1", 1), create("b"), remove("s3"), describe("s1", 3000),
                            create("c"), [](TrackedImage& image) { return image.rename("s4", "first"); },
                            [](TrackedImage& image) { return image.hold("s2", true); }, create("d")}));
  add_long_directory("LongDirectoryOverRestarts",
                     steps({create("a"), [](TrackedImage& image) { return image.close(); },
                            [](TrackedImage& image) { return image.open(); }, create("b"), create("c"),
                            [](TrackedImage& image) { return image.killed(); }, create("d"), create("e")}));

  const auto compact = [](TrackedImage& image) { return image.compact(); };
  list.push_back({"Compact", compact});
  list.push_back(
      {"CompactAfterUnsyncedWrites", dirty(steps({compact, write(at(kEmptyChunk), 9000, 72), flush(), compact}))});
  list.push_back({"CompactAfterDeletes", steps({remove("s3"), go_to("s1"), remove("s2"), compact,
                                                write(at(kSharedComplete), 2 * kSmallChunk, 73), flush()})});
  const auto flatten = [](TrackedImage& image) { return image.flatten(); };
  const auto add_over_base = [&list](const std::string& name, Step step) {
    list.push_back({name, std::move(step), false, true});
  };
  add_over_base("Flatten", flatten);
  add_over_base("FlattenAfterUnsyncedWrites",
                steps({write(at(3, 4096), 4096, 74), write(at(0, 512), 512, 75),
                       [](TrackedImage& image) { return image.discard(at(6), kSmallChunk); }, flatten}));
  add_over_base("FlattenThenWork", steps({flatten, write(at(3), 9000, 76), write(at(0, 4096), 4096, 77), flush(),
                                          remove("s2"), write(at(8), 4096, 78), go_to("s3"), remove("s1"), flush()}));
  add_over_base("FlattenWithoutSnapshots",
                steps({remove("s3"), remove("s2"), remove("s1"), flatten, write(at(3, 4096), 4096, 79), flush()}));
  add_over_base("FlattenThenClose", steps({flatten, [](TrackedImage& image) { return image.close(); }}));
  return list;
}

}  // namespace

Verdict run_steps(TrackedImage& image, const std::vector<Step>& steps) {
  for (const auto& step : steps) {
    if (Verdict verdict = step(image); !verdict.empty()) return verdict;
    if (image.disk().is_cut() || image.image() == nullptr) break;
  }
  return {};
}

const TrackedImage& starting_image(JournalSize journal) {
  static const std::unique_ptr<TrackedImage> kDefault = build_start(JournalSize::kDefault);
  static const std::unique_ptr<TrackedImage> kSmall = build_start(JournalSize::kSmall);
  static const std::unique_ptr<TrackedImage> kTwoBatches = build_start(JournalSize::kTwoBatches);
  return journal == JournalSize::kDefault ? *kDefault : journal == JournalSize::kSmall ? *kSmall : *kTwoBatches;
}

const TrackedImage& unclean_image(JournalSize journal) {
  static const std::unique_ptr<TrackedImage> kDefault = build_unclean(JournalSize::kDefault);
  static const std::unique_ptr<TrackedImage> kTwoBatches = build_unclean(JournalSize::kTwoBatches);
  return journal == JournalSize::kDefault ? *kDefault : *kTwoBatches;
}

const TrackedImage& image_over_base(JournalSize journal) {
  static const std::unique_ptr<TrackedImage> kDefault = build_over_base(JournalSize::kDefault);
  static const std::unique_ptr<TrackedImage> kTwoBatches = build_over_base(JournalSize::kTwoBatches);
  return journal == JournalSize::kDefault ? *kDefault : *kTwoBatches;
}

const TrackedImage& image_of_long_directory(JournalSize journal) {
  static const std::unique_ptr<TrackedImage> kDefault = build_long_directory(JournalSize::kDefault);
  static const std::unique_ptr<TrackedImage> kTwoBatches = build_long_directory(JournalSize::kTwoBatches);
  return journal == JournalSize::kDefault ? *kDefault : *kTwoBatches;
}

const TrackedImage& start_of(const Scenario& scenario, JournalSize journal) {
  if (scenario.over_base) return image_over_base(journal);
  if (scenario.long_directory) return image_of_long_directory(journal);
  return scenario.from_unclean ? unclean_image(journal) : starting_image(journal);
}

const TrackedImage& image_before_checkpoint() {
  static const std::unique_ptr<TrackedImage> kImage = build_before_checkpoint();
  return *kImage;
}

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> kScenarios = build_scenarios();
  return kScenarios;
}

}  // namespace fvd::test
