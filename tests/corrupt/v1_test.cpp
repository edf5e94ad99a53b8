// Every byte of an original image's (version 1) header, lookup table and journal set to wrong values, and random
// damage: opening, reading and checking always answer, never write, and an upgrade never makes of it anything unsound.
// There are no checksums, so much damage makes another valid image; that one must read as itself, twice alike.
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <iostream>
#include <random>

#include "support/image_rig.h"
#include "support/v1_writer.h"

namespace fvd::test {
namespace {

class DamagedV1 : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    V1Options options{.size = 12 * kSmallChunk, .chunk_size = kSmallChunk};
    options.base_path = directory_.file("base.raw");
    options.base = v1_base(300000);
    options.block_size = 1536;
    options.journal_size = 8192;
    std::ofstream(options.base_path, std::ios::binary)
        .write(reinterpret_cast<const char*>(options.base.data()), static_cast<std::streamsize>(options.base.size()));
    V1Writer writer(options);
    write_some(writer);
    const Bytes bytes = GetParam() ? writer.closed() : writer.killed();
    sound_.write(0, bytes);
    table_offset_ = writer.table_offset();
    journal_offset_ = writer.journal_offset();
  }

  void try_patch(std::uint64_t offset, std::span<const std::byte> data) {
    SCOPED_TRACE("offset " + std::to_string(offset) + ", " + std::to_string(data.size()) + " bytes, first " +
                 std::to_string(std::to_integer<int>(data[0])));
    SparseBytes bytes = sound_;
    bytes.write(offset, data);
    const auto disk = CrashDisk::make(std::move(bytes));
    bool changed = false;
    disk->set_hook([&](DiskOperation operation) { changed = changed || operation != DiskOperation::kRead; });
    ++tried_;
    (void)check_findings(*disk->open());
    OpenOptions reading = quiet();
    reading.read_only = true;
    Bytes content;
    std::uint64_t size = 0;
    {
      const auto image = Image::open_on(disk->open(), reading);
      if (image) {
        ++opened_;
        size = (*image)->virtual_size();
        content = read_range(**image, 0, std::min<std::uint64_t>(size, 2 * kMiB));
        const auto extent = (*image)->extent(0);
        EXPECT_TRUE(extent && extent->length > 0 && extent->length <= size);
        (void)(*image)->info();
      }
    }
    EXPECT_FALSE(changed) << "reading wrote";
    disk->set_hook({});
    // What an absurd size would cost is not the point here.
    if (size > 64 * kMiB) return;
    const auto upgraded = Image::upgrade_on(disk->open());
    if (!upgraded || !*upgraded) return;
    ++upgraded_;
    EXPECT_EQ(check_findings(*disk->open()), "");
    const auto image = Image::open_on(disk->open(), reading);
    ASSERT_OK(image);
    ASSERT_EQ((*image)->virtual_size(), size);
    EXPECT_EQ(difference(content, read_range(**image, 0, content.size())), "");
  }

  void sweep(std::uint64_t begin, std::uint64_t end, std::size_t width) {
    static constexpr std::array<std::uint64_t, 12> kValues{
        0, 1, 511, 512, 4096, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1ULL << 40, 1ULL << 62, ~0ULL};
    for (std::uint64_t at = begin; at < end; at += width) {
      for (const std::uint64_t value : kValues) {
        std::array<std::byte, 8> data{};
        for (std::size_t i = 0; i < 8; ++i) data[i] = static_cast<std::byte>(value >> (8 * i) & 0xFF);
        try_patch(at, std::span(data).first(width));
        if (HasFatalFailure()) return;
      }
    }
  }

  TemporaryDirectory directory_;
  SparseBytes sound_;
  std::uint64_t table_offset_ = 0;
  std::uint64_t journal_offset_ = 0;
  int tried_ = 0;
  int opened_ = 0;
  int upgraded_ = 0;
};

TEST_P(DamagedV1, HeaderFields) {
  for (const std::uint64_t at : {12, 20, 1068, 1076, 1084, 2212, 2220, 4284, 4292}) sweep(at, at + 1, 8);
  for (const std::uint64_t at : {0, 4, 8, 1092, 2208, 4300}) sweep(at, at + 1, 4);
  // Strings that do not end, or name something else.
  for (const auto& [at, length] : {std::pair{28, 1024}, {1052, 16}, {1108, 1024}, {2132, 16}, {2236, 2048}}) {
    for (const char fill : {'x', '/', '\xFF'}) {
      try_patch(static_cast<std::uint64_t>(at), Bytes(static_cast<std::size_t>(length), static_cast<std::byte>(fill)));
    }
  }
  std::cout << "[   damage ] " << tried_ << " images, " << opened_ << " opened, " << upgraded_ << " upgraded\n";
}

TEST_P(DamagedV1, TableAndJournal) {
  sweep(table_offset_, table_offset_ + 48, 4);
  sweep(journal_offset_, journal_offset_ + 128, 4);
  std::cout << "[   damage ] " << tried_ << " images, " << opened_ << " opened, " << upgraded_ << " upgraded\n";
}

TEST_P(DamagedV1, AtRandom) {
  std::mt19937_64 random(environment("FVD_TEST_SEED", 1));
  for (int i = 0; i < 300; ++i) {
    Bytes data(1 + random() % 16);
    for (std::byte& b : data) b = static_cast<std::byte>(random());
    try_patch(random() % (journal_offset_ + 8192), data);
    if (HasFatalFailure()) return;
  }
  std::cout << "[   damage ] " << tried_ << " images, " << opened_ << " opened, " << upgraded_ << " upgraded\n";
}

INSTANTIATE_TEST_SUITE_P(Images, DamagedV1, ::testing::Bool(),
                         [](const auto& one) { return one.param ? "Closed" : "Killed"; });

}  // namespace
}  // namespace fvd::test
