// An import beside flattening: it looks at the base image until that is cut loose, and both end as if alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>

#include "io/posix_file.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kChunks = 24;

TEST(ImportBesideFlatten, NeitherSeesTheOther) {
  const TemporaryDirectory directory;
  CreateOptions options = small_chunks(kChunks * kSmallChunk);
  options.base_path = directory.file("base.raw");
  const Bytes base = pattern(kChunks * kSmallChunk, 1);
  std::ofstream(options.base_path, std::ios::binary)
      .write(reinterpret_cast<const char*>(base.data()), static_cast<std::streamsize>(base.size()));
  // What each import leaves: pieces of chunks, and holes where it discarded.
  Bytes imported = zeros(kChunks * kSmallChunk);
  const auto build = [&](SnapshotImport& import, bool note) {
    for (std::uint64_t v = 0; v < kChunks; ++v) {
      const std::uint64_t at = v * kSmallChunk + v * 512;
      EXPECT_OK(import.write(at, pattern(3000, v)));
      if (v % 3 == 0) {
        EXPECT_OK(import.discard(v * kSmallChunk, kSmallChunk));
      } else if (v % 3 == 1) {
        EXPECT_OK(import.discard(at, 512));
      }
      if (!note) continue;
      const Bytes piece = pattern(3000, v);
      const std::size_t from = v % 3 == 0 ? piece.size() : v % 3 == 1 ? 512 : 0;
      std::copy(piece.begin() + static_cast<std::ptrdiff_t>(from), piece.end(),
                imported.begin() + static_cast<std::ptrdiff_t>(at + from));
    }
  };
  for (int round = 0; round < 8; ++round) {
    SCOPED_TRACE(round);
    const std::string path = directory.file("image" + std::to_string(round));
    ASSERT_OK(Image::create(path, options));
    {
      auto opened = Image::open(path, quiet());
      ASSERT_OK(opened);
      Image& image = **opened;
      take(image, "s");
      std::atomic<bool> flattened = false;
      std::thread importer([&] {
        // At least one to begin, and one to be committed, on each side of the switch.
        for (int n = 0; n == 0 || !flattened || n % 2 != 0; ++n) {
          ImportOptions how;
          how.name = "i" + std::to_string(n);
          how.virtual_size = kChunks * kSmallChunk;
          auto import = image.import_snapshot(how);
          ASSERT_OK(import);
          build(**import, round == 0 && n == 0);
          EXPECT_OK((*import)->commit());
        }
      });
      EXPECT_OK(image.flatten());
      flattened = true;
      importer.join();
      EXPECT_EQ(image.info().base_path, "");
      EXPECT_EQ(difference(base, read_all(image)), "");
      EXPECT_EQ(difference(base, read_snapshot(image, "s")), "");
      for (const SnapshotInfo& snapshot : image.snapshots()) {
        if (snapshot.name == "s") continue;
        EXPECT_EQ(difference(imported, read_snapshot(image, snapshot.name)), "");
      }
      ASSERT_OK(image.close());
    }
    auto file = PosixFile::open(path, {.read_only = true});
    ASSERT_OK(file);
    EXPECT_EQ(check_findings(**file), "");
  }
}

}  // namespace
}  // namespace fvd::test
