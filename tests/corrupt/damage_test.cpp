// A real image with everything in it, damaged byte by byte and field by field. Check must notice, and neither it nor
// open may crash. Where a CRC guards a field the damage comes twice: as it is, and with the CRC made right again.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <functional>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "check/check.h"
#include "corrupt/corpus.h"
#include "format/directory.h"
#include "format/header.h"
#include "format/journal.h"
#include "format/object.h"
#include "format/superblock.h"
#include "format/table.h"
#include "support/image_rig.h"
#include "support/memory_file.h"

namespace fvd::test {
namespace {

using format::Header;
using format::kPage;
using format::ObjectRef;
using format::Superblock;

// Snapshots a (root), b (of a), c (of a, empty description), partial chunks in b, and a journal that is not empty.
Bytes make_image() {
  CreateOptions options = small_chunks(40 * kSmallChunk);
  options.journal_half_size = 16 * 1024;  // the test copies the image thousands of times
  auto disk = make_disk(options);
  {
    auto image = open_disk(*disk);
    write_all(*image, 0, pattern(6 * kSmallChunk, 1));
    take(*image, "a");
    write_all(*image, 4096, pattern(4096, 2));
    write_all(*image, kSmallChunk + 8192, pattern(4096, 3));
    EXPECT_OK(image->snapshot_create("b", "the second"));
    EXPECT_OK(image->snapshot_goto("a"));
    write_all(*image, 2 * kSmallChunk, pattern(kSmallChunk, 4));
    take(*image, "c");
    write_all(*image, 3 * kSmallChunk, pattern(4096, 5));
    write_all(*image, 20 * kSmallChunk, pattern(4096, 6));
    EXPECT_OK(image->flush());
    disk = disk->clone();  // as if the process had been killed: the journal stays
  }
  const auto file = disk->open();
  Bytes bytes(file->size().value());
  EXPECT_OK(file->read(0, bytes));
  // A file grows ahead of its chunks; cut what is spare, so that what lies beyond the end is near, and copies are
  // cheap.
  while (!bytes.empty() && bytes.back() == std::byte{0}) bytes.pop_back();
  bytes.resize(align_up(bytes.size(), kSmallChunk));
  return bytes;
}

const Bytes& sound_image() {
  static const Bytes bytes = make_image();
  return bytes;
}

struct Parts {
  Header header;
  Superblock superblock;
  std::vector<format::SnapshotRecord> records;
  std::uint64_t journal = 0;

  explicit Parts(const Bytes& bytes) {
    header = Header::decode(std::span<const std::byte, kPage>(bytes.data(), kPage)).value();
    for (const std::uint64_t slot : header.superblock_offset) {
      auto s = Superblock::decode(std::span<const std::byte, kPage>(bytes.data() + slot, kPage), slot, header.uuid,
                                  header.geometry());
      if (s && s->sequence > superblock.sequence) superblock = *s;
    }
    records = format::decode_directory(object(bytes, superblock.directory), superblock.directory, header.geometry(),
                                       header.geometry().chunks_in(bytes.size()), superblock.next_snapshot_id)
                  .value();
    journal = header.journal_offset + (superblock.epoch & 1) * header.journal_half_size;
  }
  [[nodiscard]] std::uint64_t at(const ObjectRef& ref) const { return header.geometry().file_offset(ref.first_chunk); }
  [[nodiscard]] std::span<const std::byte> object(const Bytes& bytes, const ObjectRef& ref) const {
    return std::span(bytes).subspan(at(ref), ref.length);
  }
};

void seal_page(Bytes& bytes, std::uint64_t at, std::size_t crc_at) {
  store_le(bytes.data() + at + crc_at,
           crc32c(std::span<const std::byte>(bytes).subspan(at + crc_at + 4, kPage - crc_at - 4)));
}

// Makes an object's CRC right, and the reference to it at `ref_at` (in the file).
void seal_ref(Bytes& bytes, std::uint64_t at, std::uint64_t length, std::uint64_t ref_at) {
  const std::uint32_t crc =
      crc32c(std::span<const std::byte>(bytes).subspan(at + format::kCrcStart, length - format::kCrcStart));
  store_le(bytes.data() + at + 16, crc);
  store_le(bytes.data() + ref_at + 4, crc);
}

void seal_batch(Bytes& bytes, std::uint64_t at) {
  const auto length = load_le<std::uint32_t>(bytes.data() + at + 4);
  if (length < 64 || at + length > bytes.size()) return;
  store_le(bytes.data() + at + 8, crc32c(std::span<const std::byte>(bytes).subspan(at + 12, length - 12)));
}

bool noticed(const Bytes& bytes) {
  MemoryFile file(bytes);
  const auto report = check_image(file);
  return !report || report->exit_status() != 0;
}

TEST(DamageTest, TheImageItselfIsSound) {
  MemoryFile file(sound_image());
  EXPECT_EQ(check_findings(file), "");
  const auto report = check_image(file);
  ASSERT_OK(report);
  EXPECT_EQ(report->snapshots, 3U);
  EXPECT_GT(report->journal_records, 0U);
  EXPECT_FALSE(report->clean);
}

TEST(DamageTest, EveryByteOfTheHeaderMatters) {
  for (std::size_t i = 0; i < kPage; ++i) {
    Bytes bytes(sound_image().begin(), sound_image().begin() + kPage);
    bytes[i] ^= std::byte{0x10};
    EXPECT_FALSE(Header::decode(std::span<const std::byte, kPage>(bytes)).is_ok()) << "byte " << i;
  }
}

TEST(DamageTest, EveryByteOfTheSuperblockMatters) {
  const Parts parts(sound_image());
  for (std::size_t i = 0; i < kPage; ++i) {
    const std::uint64_t slot = parts.superblock.self_offset;
    Bytes bytes(sound_image().begin() + static_cast<std::ptrdiff_t>(slot),
                sound_image().begin() + static_cast<std::ptrdiff_t>(slot + kPage));
    bytes[i] ^= std::byte{0x10};
    EXPECT_FALSE(
        Superblock::decode(std::span<const std::byte, kPage>(bytes), slot, parts.header.uuid, parts.header.geometry())
            .is_ok())
        << "byte " << i;
  }
}

TEST(DamageTest, AFlippedByteOfAnObjectIsNoticed) {
  const Parts parts(sound_image());
  std::vector<std::pair<std::string, ObjectRef>> objects = {{"base table", parts.superblock.table},
                                                            {"directory", parts.superblock.directory},
                                                            {"counts", parts.superblock.refcounts}};
  for (const auto& r : parts.records) objects.emplace_back("table of " + r.name, r.table);
  Bytes bytes = sound_image();
  for (const auto& [name, ref] : objects) {
    ASSERT_FALSE(ref.is_none()) << name;
    // Everything of the header and the records behind the groups, a sample of the groups.
    for (std::uint64_t i = 0; i < ref.length; i += i < 256 || i + 256 > ref.length ? 1 : 61) {
      bytes[parts.at(ref) + i] ^= std::byte{0x04};
      EXPECT_TRUE(noticed(bytes)) << name << " byte " << i;
      if (i % 16 == 0) use_as_a_program(std::make_unique<MemoryFile>(bytes));
      bytes[parts.at(ref) + i] ^= std::byte{0x04};
    }
  }
}

// A field of 1, 2, 4 or 8 bytes that gets values it must not have, with all CRCs right.
struct Field {
  const char* name;
  std::uint64_t offset;
  unsigned size;
  std::vector<std::uint64_t> values;
};

constexpr std::uint64_t kHuge = ~0ULL;

void put(Bytes& bytes, std::uint64_t at, unsigned size, std::uint64_t value) {
  for (unsigned i = 0; i < size; ++i) bytes[at + i] = static_cast<std::byte>(value >> (8 * i) & 0xFF);
}

void expect_noticed(std::uint64_t start, const std::vector<Field>& fields, const std::function<void(Bytes&)>& seal) {
  for (const Field& field : fields) {
    for (const std::uint64_t value : field.values) {
      Bytes bytes = sound_image();
      put(bytes, start + field.offset, field.size, value);
      seal(bytes);
      EXPECT_TRUE(noticed(bytes)) << field.name << " = " << value;
      use_as_a_program(std::make_unique<MemoryFile>(bytes));
    }
  }
}

// The byte that is at `at` in a sound image, made wrong: a UUID is random, so that no fixed value is wrong in every
// image.
std::uint64_t not_the_byte_at(std::uint64_t at) { return std::to_integer<std::uint64_t>(~sound_image()[at]); }

TEST(DamageTest, WrongValuesInTheHeader) {
  expect_noticed(0,
                 {{"version", 8, 4, {0, 1, 3}},
                  {"length", 12, 4, {0, 512, 8192}},
                  {"reserved", 20, 4, {1}},
                  {"chunk_log2", 24, 4, {0, 15, 17, 27, 64, kHuge}},
                  {"block_log2", 28, 4, {0, 8, 17, 64, kHuge}},
                  {"journal_offset", 32, 8, {0, 1, 4096, 8192, kHuge, kHuge - 4095}},
                  {"journal_half_size", 40, 8, {0, 1, 1ULL << 41, kHuge - 4095, 1ULL << 63}},
                  {"data_offset", 48, 8, {0, 4096, 1ULL << 41, kHuge - 4095}},
                  {"superblock 0", 56, 8, {0, 8192, 16384, kHuge - 4095}},
                  {"superblock 1", 64, 8, {0, 4096, 16384, kHuge - 4095}},
                  {"uuid", 72, 1, {not_the_byte_at(72)}},
                  {"last reserved byte", 4095, 1, {1}}},
                 [](Bytes& bytes) { seal_page(bytes, 0, 16); });
}

TEST(DamageTest, WrongValuesInTheSuperblock) {
  const Parts parts(sound_image());
  const std::uint64_t at = parts.superblock.self_offset;
  expect_noticed(at,
                 {{"length", 8, 4, {0, 512}},
                  {"own offset", 16, 8, {0, at + kPage}},
                  {"uuid", 24, 1, {not_the_byte_at(at + 24)}},
                  {"sequence", 40, 8, {0, kHuge}},
                  {"incompat", 48, 8, {3, 4, 1ULL << 63}},
                  {"flags", 72, 4, {2, kHuge}},
                  {"next_snapshot_id", 76, 4, {0, 1, 3}},
                  {"virtual_size", 80, 8, {0, 1, 512, kHuge, kHuge - 511, 1ULL << 47}},
                  {"parent", 104, 4, {99, kHuge}},
                  {"snapshot_count", 108, 4, {0, 2, 4, 65536, kHuge}},
                  {"table chunk", 112, 4, {0, parts.superblock.directory.first_chunk, 0x3FFFFFFE, kHuge}},
                  {"table crc", 116, 4, {0}},
                  {"table length", 120, 8, {0, 63, 64, 1ULL << 40, kHuge}},
                  {"directory chunk", 128, 4, {0, parts.superblock.refcounts.first_chunk, 0x3FFFFFFE, kHuge}},
                  {"directory crc", 132, 4, {0}},
                  {"directory length", 136, 8, {0, 63, 64, 1ULL << 40, kHuge}},
                  {"counts chunk", 144, 4, {0, parts.superblock.directory.first_chunk, 0x3FFFFFFE, kHuge}},
                  {"counts crc", 148, 4, {0}},
                  {"counts length", 152, 8, {0, 63, 64, 1ULL << 40, kHuge}},
                  {"base_size", 160, 8, {1, kHuge}},
                  {"base_format", 168, 1, {'r'}},
                  {"base_format behind its NUL", 183, 1, {'r'}},
                  {"base_path", 184, 1, {'x'}},
                  {"base_path behind its NUL", 1207, 1, {'x'}},
                  {"reserved", 2744, 1, {1}},
                  {"last reserved byte", 4095, 1, {1}}},
                 [at](Bytes& bytes) { seal_page(bytes, at, 12); });
}

TEST(DamageTest, WrongValuesInTheDirectory) {
  const Parts parts(sound_image());
  const std::uint64_t at = parts.at(parts.superblock.directory);
  const auto seal = [&](Bytes& bytes) {
    seal_ref(bytes, at, parts.superblock.directory.length, parts.superblock.self_offset + 128);
    seal_page(bytes, parts.superblock.self_offset, 12);
  };
  const std::uint64_t second =
      format::kObjectHeader + load_le<std::uint32_t>(sound_image().data() + at + format::kObjectHeader);
  expect_noticed(at,
                 {{"length", 8, 8, {0, 64, kHuge}},
                  {"reserved", 20, 4, {1}},
                  {"count", 24, 4, {0, 2, 4, 65536, kHuge}},
                  {"reserved", 28, 4, {1}},
                  {"reserved", 60, 4, {1}}},
                 seal);
  expect_noticed(at + second,
                 {{"record length", 0, 4, {0, 64, 72, kHuge}},
                  {"id", 4, 4, {0, 1, 99, kHuge}},
                  {"parent: itself, gone", 8, 4, {2, 99, kHuge}},
                  {"flags", 12, 4, {2, kHuge}},
                  {"table chunk", 16, 4, {0, parts.superblock.directory.first_chunk, 0x3FFFFFFE, kHuge}},
                  {"table of another", 16, 4, {parts.records[0].table.first_chunk}},
                  {"table crc", 20, 4, {0}},
                  {"table length", 24, 8, {0, 63, 64, kHuge}},
                  {"virtual_size", 32, 8, {0, 1, 512, kHuge, 1ULL << 47}},
                  {"nanoseconds", 48, 4, {1000000000, kHuge}},
                  {"name length", 52, 2, {0, 40, 256, 0xFFFF}},
                  {"description length", 54, 2, {0, 4097, 0xFFFF}},
                  {"mapped_bytes", 56, 8, {0, 1, kSmallChunk, kHuge}},
                  {"name: slash, control, same as a's", 64, 1, {'/', 1, 0xFF, 'a'}}},
                 seal);
  // A cycle of two: the parent of a is b, whose parent is a.
  Bytes bytes = sound_image();
  put(bytes, at + format::kObjectHeader + 8, 4, 2);
  seal(bytes);
  EXPECT_TRUE(noticed(bytes));
  use_as_a_program(std::make_unique<MemoryFile>(bytes));
}

TEST(DamageTest, WrongValuesInATable) {
  const Parts parts(sound_image());
  const format::SnapshotRecord& b = parts.records[1];
  const std::uint64_t at = parts.at(b.table);
  const std::uint64_t directory = parts.at(parts.superblock.directory);
  const std::uint64_t record =
      directory + format::kObjectHeader + load_le<std::uint32_t>(sound_image().data() + directory + 64);
  const auto seal = [&](Bytes& bytes) {
    seal_ref(bytes, at, b.table.length, record + 16);
    seal_ref(bytes, directory, parts.superblock.directory.length, parts.superblock.self_offset + 128);
    seal_page(bytes, parts.superblock.self_offset, 12);
  };
  const std::uint64_t pages = kPage;
  const std::uint64_t partials = std::uint64_t{kPage} + format::kGroupBytes;
  ASSERT_EQ(load_le<std::uint32_t>(sound_image().data() + at + 40), 2U) << "partial chunks of b";
  const std::uint32_t origin = load_le<std::uint32_t>(sound_image().data() + at + partials + 4);
  const std::uint32_t partial_chunk = load_le<std::uint32_t>(sound_image().data() + at + pages) & format::kChunkMask;
  expect_noticed(at,
                 {{"reserved", 20, 4, {1}},
                  {"virtual_size", 24, 8, {0, 512, 39 * kSmallChunk, kHuge}},
                  {"entries", 32, 4, {0, 39, 41, kHuge}},
                  {"stored_groups", 36, 4, {0, 2, 4, kHuge}},
                  {"partial_count", 40, 4, {0, 1, 3, kHuge}},
                  {"bitmap_bytes", 44, 4, {0, 16, kHuge}},
                  {"reserved", 48, 8, {1}},
                  {"reserved", 56, 8, {1}},
                  {"group index", 64, 4, {3, kHuge}},
                  {"padding", 68, 4, {1}},
                  {"entry: complete, beyond the file, shared, partial zero",
                   pages,
                   4,
                   {partial_chunk, 0x3FFFFFFE, 0x80000001, 0x7FFFFFFF, format::kPartialFlag}},
                  {"entry: metadata", pages + 20, 4, {parts.superblock.directory.first_chunk}},
                  {"entry: another's", pages + 20, 4, {origin}},
                  {"entry: gone", pages + 20, 4, {format::kEmpty, format::kZero}},
                  {"partial record's chunk", partials, 4, {1, 39, kHuge}},
                  {"origin: itself partial, metadata, beyond the file",
                   partials + 4,
                   4,
                   {partial_chunk, parts.superblock.directory.first_chunk, 0x3FFFFFFE, kHuge}},
                  {"bits past the last block", partials + 8, 8, {1ULL << 16, kHuge}}},
                 seal);
}

TEST(DamageTest, WrongCounts) {
  const Parts parts(sound_image());
  const ObjectRef& ref = parts.superblock.refcounts;
  const std::uint64_t at = parts.at(ref);
  const auto seal = [&](Bytes& bytes) {
    seal_ref(bytes, at, ref.length, parts.superblock.self_offset + 144);
    seal_page(bytes, parts.superblock.self_offset, 12);
  };
  expect_noticed(
      at,
      {{"reserved", 20, 4, {1}}, {"count", 24, 4, {0, 1, kHuge}}, {"reserved", 28, 8, {1}}, {"chunk 0", 64, 2, {1}}},
      seal);
  const auto count = load_le<std::uint32_t>(sound_image().data() + at + 24);
  for (std::uint32_t c = 1; c < count; ++c) {
    const auto good = load_le<std::uint16_t>(sound_image().data() + at + 64 + c * 2);
    for (const int wrong : {good - 1, good + 1}) {
      if (wrong < 0) continue;
      Bytes bytes = sound_image();
      put(bytes, at + 64 + c * 2, 2, static_cast<std::uint64_t>(wrong));
      seal(bytes);
      MemoryFile file(bytes);
      const auto report = check_image(file);
      ASSERT_OK(report);
      // Too low is corruption; too high is a leak, unless the chunk holds metadata.
      if (wrong < good) {
        EXPECT_EQ(report->exit_status(), 2) << "chunk " << c;
      } else {
        EXPECT_NE(report->exit_status(), 0) << "chunk " << c;
      }
      use_as_a_program(std::make_unique<MemoryFile>(bytes));
    }
  }
}

TEST(DamageTest, WrongValuesInTheJournal) {
  const Parts parts(sound_image());
  const std::uint64_t at = parts.journal;
  ASSERT_EQ(load_le<std::uint32_t>(sound_image().data() + at), format::JournalBatch::kMagic);
  const auto seal = [at](Bytes& bytes) { seal_batch(bytes, at); };
  expect_noticed(at,
                 {{"record count", 12, 4, {0, 1, 99, kHuge}},
                  {"reserved", 44, 4, {1}},
                  {"reserved", 60, 4, {1}},
                  {"virtual chunk", 64, 4, {40, kHuge}},
                  {"entry", 68, 4, {0x3FFFFFFE, 0x80000001, kHuge, parts.superblock.directory.first_chunk}},
                  {"origin", 72, 4, {0x3FFFFFFE, 0x40000001, kHuge, parts.superblock.directory.first_chunk}},
                  {"first word", 76, 2, {1, 0xFFFF}},
                  {"word count", 78, 2, {0, 2, 0xFFFF}}},
                 seal);
  // A batch that is torn, or of another epoch, ends the journal: that is no damage, and the state before it counts.
  for (const std::uint64_t offset : {0, 4, 8, 16, 24, 32, 40, 64}) {
    Bytes bytes = sound_image();
    bytes[at + offset] ^= std::byte{1};
    MemoryFile file(bytes);
    EXPECT_EQ(check_findings(file), "") << "byte " << offset;
    EXPECT_EQ(check_image(file)->journal_records, 0U) << "byte " << offset;
    use_as_a_program(std::make_unique<MemoryFile>(bytes));
  }
}

TEST(DamageTest, ATornNewerSuperblockLeavesTheOlder) {
  const Parts parts(sound_image());
  Bytes bytes = sound_image();
  bytes[parts.superblock.self_offset + 100] ^= std::byte{1};
  MemoryFile file(bytes);
  ASSERT_OK(check_image(file));  // the older one may name what is gone since: any finding, no failure
  use_as_a_program(std::make_unique<MemoryFile>(bytes));
}

TEST(DamageTest, TwoSuperblocksOfOneSequenceAreRefused) {
  const Parts parts(sound_image());
  const std::uint64_t newest = parts.superblock.self_offset;
  const std::uint64_t other = parts.header.superblock_offset[newest == parts.header.superblock_offset[0] ? 1 : 0];
  Bytes bytes = sound_image();
  std::copy_n(sound_image().begin() + static_cast<std::ptrdiff_t>(newest), kPage,
              bytes.begin() + static_cast<std::ptrdiff_t>(other));
  put(bytes, other + 16, 8, other);
  seal_page(bytes, other, 12);
  EXPECT_TRUE(noticed(bytes));
  EXPECT_CODE(Code::kCorrupt, Image::open_on(std::make_unique<MemoryFile>(bytes), quiet()));
}

TEST(DamageTest, CutOffAnywhere) {
  const Bytes& whole = sound_image();
  const Parts parts(whole);
  for (std::size_t size = 0; size < whole.size(); size += size < 3 * kPage ? 1000 : 16384) {
    const Bytes bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_TRUE(noticed(bytes)) << size << " bytes left of " << whole.size();
    use_as_a_program(std::make_unique<MemoryFile>(bytes));
  }
}

TEST(DamageTest, OlderFormatsAreToldApart) {
  Bytes bytes(kPage);
  put(bytes, 0, 4, 0x5143F5A9);
  EXPECT_CODE(Code::kUnsupported, Header::decode(std::span<const std::byte, kPage>(bytes)));
  put(bytes, 0, 4, 0x00445646);
  EXPECT_CODE(Code::kUnsupported, Header::decode(std::span<const std::byte, kPage>(bytes)));
  put(bytes, 0, 4, 0);
  EXPECT_CODE(Code::kInvalid, Header::decode(std::span<const std::byte, kPage>(bytes)));
}

}  // namespace
}  // namespace fvd::test
