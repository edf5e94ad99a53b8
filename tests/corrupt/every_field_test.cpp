// Every field of every structure of the corpus, every bit flipped and every plausible wrong value, with the CRC left
// wrong and with all CRCs made right. What check does not notice must not have changed what the image means, unless the
// field is one whose every valid value makes another valid image. Check, open and repair always answer.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <map>

#include "base/crc32c.h"
#include "check/check.h"
#include "corrupt/corpus.h"

namespace fvd::test {
namespace {

std::shared_ptr<CrashDisk> damaged_disk(const SparseBytes& sound, const std::vector<Patch>& patches) {
  SparseBytes bytes = sound;
  for (const Patch& p : patches) bytes.write(p.offset, p.data);
  return CrashDisk::make(std::move(bytes));
}

void add_state(StateReader& state, std::string* text) {
  const std::uint64_t size = state.virtual_size();
  const Bytes bytes = read_range(state, 0, std::min(size, 32 * kSmallChunk));  // a damaged size may be any
  *text += std::to_string(size) + " bytes, " + std::to_string(crc32c(bytes)) + "\n";
}

// All that a user sees of an image, as text; or why it cannot be opened.
std::string meaning_of(CrashDisk& disk) {
  OpenOptions options = quiet();
  options.read_only = true;
  auto image = Image::open_on(disk.open(), options);
  if (!image) return "refused: " + image.status().message();
  std::string text = "current-state, parent " + std::to_string((*image)->current_parent()) + ": ";
  add_state(**image, &text);
  for (const SnapshotInfo& s : (*image)->snapshots()) {
    text += s.name + ", id " + std::to_string(s.id) + ", parent " + std::to_string(s.parent) + ": ";
    const auto reader = (*image)->open_snapshot(s.id);
    if (!reader) {
      text += "refused: " + reader.status().message() + "\n";
      continue;
    }
    add_state(**reader, &text);
  }
  return text;
}

struct Tally {
  std::uint64_t tried = 0;
  std::uint64_t noticed = 0;
  std::uint64_t harmless = 0;  // means the same
  std::uint64_t valid = 0;     // another valid image, or a last batch that looks as if it was cut short
  std::uint64_t repaired = 0;
};

class EveryField : public ::testing::TestWithParam<std::size_t> {};

TEST_P(EveryField, IsNoticedOrMeansNothing) {
  const Specimen& specimen = corpus()[GetParam()];
  const Anatomy anatomy(specimen.bytes);
  SparseBytes sound;
  sound.write(0, specimen.bytes);
  ASSERT_EQ(check_findings(*CrashDisk::make(sound)->open()), "");
  const std::string meaning = meaning_of(*CrashDisk::make(sound));
  ASSERT_EQ(meaning.find("refused"), std::string::npos) << meaning;
  // One in so many is tried, by turns with and without its CRC, and one in so many of these is also opened for writing
  // and repaired. FVD_TEST_ROUNDS=500 tries every one.
  const std::uint64_t stride = std::max<std::uint64_t>(1, 500 / environment("FVD_TEST_ROUNDS", 100)) | 1;
  const std::uint64_t step = 20;
  std::uint64_t number = 0;
  Tally tally;
  for (const Field& field : fields_of(anatomy)) {
    for (const std::uint64_t value : wrong_values(anatomy, field)) {
      for (const bool sealed : {false, true}) {
        if (number++ % stride != 0) continue;
        const auto disk = damaged_disk(sound, damage(anatomy, field, value, sealed));
        const auto report = check_image(*disk->open());
        ++tally.tried;
        const std::string what = field.name + " = " + std::to_string(value) + (sealed ? ", sealed" : "");
        if (!report || report->exit_status() != 0) {
          ++tally.noticed;
          if (report) {
            ASSERT_FALSE(report->findings.empty()) << what;
            EXPECT_FALSE(report->findings[0].message.empty()) << what;
          }
        } else if (meaning_of(*disk) == meaning) {
          ++tally.harmless;
        } else {
          ++tally.valid;
          EXPECT_TRUE(sealed ? field.free : field.last_batch) << what << " is not noticed, and changes what is read";
        }
        if (tally.tried % step != 0) continue;
        use_as_a_program(disk->clone()->open());
        const auto repair = repair_image(*disk->open(), {.older_superblock = tally.tried % (2 * step) == 0});
        if (!repair) continue;
        EXPECT_EQ(repair->done.empty() && repair->before.exit_status() != 0, !repair->refused.empty()) << what;
        if (!repair->done.empty()) {
          ++tally.repaired;
          EXPECT_EQ(check_findings(*disk->open()), "") << what;
        }
      }
    }
  }
  std::cout << "[ damage   ] " << specimen.name << ": " << tally.tried << " tried, " << tally.noticed << " noticed, "
            << tally.harmless << " change nothing, " << tally.valid << " make another valid image; " << tally.repaired
            << " repaired\n";
}

INSTANTIATE_TEST_SUITE_P(Corpus, EveryField, ::testing::Range<std::size_t>(0, 4),
                         [](const auto& one) { return corpus()[one.param].name; });

}  // namespace
}  // namespace fvd::test
