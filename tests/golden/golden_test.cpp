// The bytes of every on-disk structure, as tests/golden/*.hex has them. A change here is a change of the format.
// A line of a .hex file is an offset and the bytes from it, both hexadecimal; what no line names is zero.
#include <gtest/gtest.h>

#include <fstream>
#include <iomanip>
#include <sstream>
#include <string>

#include "base/crc32c.h"
#include "golden/structures.h"

namespace fvd::test {
namespace {

using format::kPage;

std::string dump(std::span<const std::byte> bytes) {
  std::ostringstream out;
  out << std::hex << std::setfill('0') << "size " << bytes.size() << '\n';
  for (std::size_t at = 0; at < bytes.size(); at += 16) {
    const auto line = bytes.subspan(at, std::min<std::size_t>(16, bytes.size() - at));
    if (std::all_of(line.begin(), line.end(), [](std::byte b) { return b == std::byte{0}; })) continue;
    out << std::setw(4) << at << ':';
    for (const std::byte b : line) out << ' ' << std::setw(2) << std::to_integer<unsigned>(b);
    out << '\n';
  }
  return out.str();
}

void expect_golden(const std::string& name, std::span<const std::byte> bytes) {
  std::ifstream file(std::string(FVD_SOURCE_DIR) + "/tests/golden/" + name + ".hex");
  std::stringstream wanted;
  wanted << file.rdbuf();
  EXPECT_EQ(dump(bytes), wanted.str()) << name;
}

TEST(GoldenTest, CrcIsCastagnoli) {
  const std::string digits = "123456789";
  EXPECT_EQ(crc32c(std::as_bytes(std::span(digits))), 0xE3069283U);
}

TEST(GoldenTest, Header) {
  std::array<std::byte, kPage> page;
  const format::Header h = example_header();
  h.encode(page);
  expect_golden("header", page);
  const auto back = format::Header::decode(page);
  ASSERT_TRUE(back.is_ok()) << back.status().message();
  EXPECT_EQ(back->chunk_log2, h.chunk_log2);
  EXPECT_EQ(back->block_log2, h.block_log2);
  EXPECT_EQ(back->journal_offset, h.journal_offset);
  EXPECT_EQ(back->journal_half_size, h.journal_half_size);
  EXPECT_EQ(back->data_offset, h.data_offset);
  EXPECT_EQ(back->superblock_offset, h.superblock_offset);
  EXPECT_EQ(back->uuid, h.uuid);
}

TEST(GoldenTest, Superblock) {
  std::array<std::byte, kPage> page;
  const format::Superblock s = example_superblock();
  s.encode(page);
  expect_golden("superblock", page);
  const auto back = format::Superblock::decode(page, s.self_offset, s.uuid, example_header().geometry());
  ASSERT_TRUE(back.is_ok()) << back.status().message();
  EXPECT_EQ(back->sequence, s.sequence);
  EXPECT_EQ(back->incompat, s.incompat);
  EXPECT_EQ(back->ro_compat, s.ro_compat);
  EXPECT_EQ(back->compat, s.compat);
  EXPECT_EQ(back->flags, s.flags);
  EXPECT_EQ(back->next_snapshot_id, s.next_snapshot_id);
  EXPECT_EQ(back->virtual_size, s.virtual_size);
  EXPECT_EQ(back->epoch, s.epoch);
  EXPECT_EQ(back->journal_salt, s.journal_salt);
  EXPECT_EQ(back->parent, s.parent);
  EXPECT_EQ(back->snapshot_count, s.snapshot_count);
  EXPECT_EQ(back->table, s.table);
  EXPECT_EQ(back->directory, s.directory);
  EXPECT_EQ(back->refcounts, s.refcounts);
  EXPECT_EQ(back->base_size, s.base_size);
  EXPECT_EQ(back->base_format, s.base_format);
  EXPECT_EQ(back->base_path, s.base_path);
}

TEST(GoldenTest, SuperblockNamesTheFeatureThatIsUnknown) {
  std::array<std::byte, kPage> page;
  const format::Superblock s = example_superblock();
  s.encode(page);
  page[48] |= std::byte{1 << 5};
  const std::string name = "wings";
  page[1208 + 96] = std::byte{0};
  page[1208 + 97] = std::byte{5};
  std::copy_n(std::as_bytes(std::span(name)).begin(), name.size(), page.begin() + 1208 + 98);
  store_le(page.data() + 12, crc32c(std::span<const std::byte>(page).subspan(16)));
  const auto back = format::Superblock::decode(page, s.self_offset, s.uuid, example_header().geometry());
  EXPECT_EQ(back.code(), Code::kUnsupported);
  EXPECT_NE(back.status().message().find("\"wings\""), std::string::npos) << back.status().message();
}

TEST(GoldenTest, Directory) {
  const auto records = example_records();
  const auto object = format::encode_directory(records);
  expect_golden("directory", object);
  const auto back = format::decode_directory(object, ref_of(object, 3), example_header().geometry(), 100, 6);
  ASSERT_TRUE(back.is_ok()) << back.status().message();
  ASSERT_EQ(back->size(), records.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    const auto& wanted = records[i];
    const auto& seen = (*back)[i];
    EXPECT_EQ(seen.id, wanted.id);
    EXPECT_EQ(seen.parent, wanted.parent);
    EXPECT_EQ(seen.flags, wanted.flags);
    EXPECT_EQ(seen.table, wanted.table);
    EXPECT_EQ(seen.virtual_size, wanted.virtual_size);
    EXPECT_EQ(seen.created_seconds, wanted.created_seconds);
    EXPECT_EQ(seen.created_nanoseconds, wanted.created_nanoseconds);
    EXPECT_EQ(seen.mapped_bytes, wanted.mapped_bytes);
    EXPECT_EQ(seen.name, wanted.name);
    EXPECT_EQ(seen.description, wanted.description);
  }
}

TEST(GoldenTest, Table) {
  const auto object = example_table();
  expect_golden("table", object);
  const auto view = format::TableView::parse(object, ref_of(object, 3), example_header().geometry(), 100);
  ASSERT_TRUE(view.is_ok()) << view.status().message();
  std::vector<std::pair<std::uint32_t, std::uint32_t>> entries;
  view->for_each_entry([&](std::uint32_t v, std::uint32_t entry) { entries.emplace_back(v, entry); });
  const std::vector<std::pair<std::uint32_t, std::uint32_t>> wanted = {{1, 7}, {2, 0x40000008}, {3, 0x3FFFFFFF}};
  EXPECT_EQ(entries, wanted);
  EXPECT_EQ(view->partial(0).virtual_chunk, 2U);
  EXPECT_EQ(view->partial(0).origin, 9U);
  EXPECT_EQ(load_le<std::uint64_t>(view->partial(0).bitmap.data()), 0x8421U);
}

TEST(GoldenTest, ReferenceCounts) {
  const auto object = example_refcounts();
  expect_golden("refcounts", object);
  ASSERT_TRUE(format::verify_object(object, format::kRefcountMagic, ref_of(object, 3)).is_ok());
  const auto back = format::RefcountHeader::decode(object, object.size(), 3);
  ASSERT_TRUE(back.is_ok()) << back.status().message();
  EXPECT_EQ(back->count, 4U);
  EXPECT_EQ(format::RefcountHeader::decode(object, object.size(), 2).code(), Code::kCorrupt);
}

TEST(GoldenTest, JournalBatch) {
  std::uint32_t crc = 0;
  const auto bytes = example_batch(&crc);
  expect_golden("journal", bytes);
  format::JournalBatch batch;
  ASSERT_TRUE(
      format::decode_batch_header(bytes, 0x1112131415161718, 0x2122232425262728, 0x31, 0x41424344, kPage, &batch));
  ASSERT_TRUE(format::batch_crc_is_right(bytes, batch));
  EXPECT_EQ(batch.crc, crc);
  EXPECT_EQ(batch.record_count, 2U);
  std::vector<std::string> records;
  const Status s =
      format::for_each_record(bytes, batch, example_header().geometry(), 4, 100, [&](const format::JournalRecord& r) {
        std::ostringstream text;
        text << std::hex << r.virtual_chunk << ' ' << r.entry << ' ' << r.origin << ' ' << r.first_word;
        for (const std::uint64_t word : r.words) text << ' ' << word;
        records.push_back(text.str());
      });
  ASSERT_TRUE(s.is_ok()) << s.message();
  EXPECT_EQ(records, (std::vector<std::string>{"1 6 0 0", "3 4000000a 3fffffff 0 201"}));
  // Not for another epoch, salt, place in the sequence or predecessor, and not when it does not fit.
  EXPECT_FALSE(format::decode_batch_header(bytes, 1, 0x2122232425262728, 0x31, 0x41424344, kPage, &batch));
  EXPECT_FALSE(format::decode_batch_header(bytes, 0x1112131415161718, 1, 0x31, 0x41424344, kPage, &batch));
  EXPECT_FALSE(
      format::decode_batch_header(bytes, 0x1112131415161718, 0x2122232425262728, 0x32, 0x41424344, kPage, &batch));
  EXPECT_FALSE(format::decode_batch_header(bytes, 0x1112131415161718, 0x2122232425262728, 0x31, 0, kPage, &batch));
  EXPECT_FALSE(
      format::decode_batch_header(bytes, 0x1112131415161718, 0x2122232425262728, 0x31, 0x41424344, 80, &batch));
}

TEST(GoldenTest, JournalBatchWithData) {
  using Kind = format::JournalRecord::Kind;
  std::uint32_t crc = 0;
  const auto bytes = example_data_batch(&crc);
  expect_golden("journal-data", bytes);
  format::JournalBatch batch;
  ASSERT_TRUE(
      format::decode_batch_header(bytes, 0x1112131415161718, 0x2122232425262728, 0x31, 0x41424344, 8192, &batch));
  ASSERT_TRUE(format::batch_crc_is_right(bytes, batch));
  std::vector<Kind> kinds;
  const auto apply = [&](const format::JournalRecord& r) {
    kinds.push_back(r.kind);
    if (r.kind != Kind::kData) return;
    EXPECT_EQ(r.virtual_chunk, 1U);
    EXPECT_EQ(r.first_sector, 0x2FU);
    ASSERT_EQ(r.data.size(), 1024U);
    EXPECT_EQ(r.data.data(), bytes.data() + r.data_offset);
    EXPECT_EQ(r.data[1023], std::byte{16});
  };
  const format::Geometry geometry = example_header().geometry();
  const Status s = format::for_each_record(bytes, batch, geometry, 4, 100, apply);
  ASSERT_TRUE(s.is_ok()) << s.message();
  EXPECT_EQ(kinds, (std::vector<Kind>{Kind::kMapping, Kind::kInPlace, Kind::kData}));
}

TEST(GoldenTest, JournalDataThatBreaksTheFormat) {
  std::uint32_t crc = 0;
  const auto sound = example_data_batch(&crc);
  const format::Geometry geometry = example_header().geometry();
  constexpr std::size_t kInPlace = 64 + 16;
  constexpr std::size_t kData = kInPlace + 16;
  const auto refused = [&](std::size_t at, std::uint32_t value, const std::string& why) {
    auto bytes = sound;
    store_le(bytes.data() + at, value);
    format::JournalBatch batch;
    ASSERT_TRUE(format::decode_batch_header(bytes, 8192, &batch));
    const Status s = format::for_each_record(bytes, batch, geometry, 4, 100, [](const format::JournalRecord&) {});
    EXPECT_EQ(s.code(), Code::kCorrupt) << at;
    EXPECT_NE(s.message().find(why), std::string::npos) << s.message();
  };
  const auto sectors = static_cast<std::uint32_t>(geometry.chunk_size() / 512);
  refused(kData, 4, "past the end of the disk");
  refused(kData + 4, 0x80000002, "an entry out of range");
  refused(kData + 8, sectors - 1, "beyond its chunk");
  refused(kData + 8, 0xFFFFFFFF, "beyond its chunk");
  refused(kData + 12, 0, "empty");
  refused(kData + 12, 3, "cut off");
  refused(kData + 12, 1, "behind the last record");
  refused(kData + 12, 0xFFFFFFFF, "beyond its chunk");
  refused(kInPlace, 1, "a reserved field is in use");
  refused(kInPlace + 8, 1, "a reserved field is in use");
  refused(kInPlace + 12, 1, "a reserved field is in use");
}

TEST(GoldenTest, Stream) {
  const auto stream = example_stream();
  expect_golden("stream", stream);
  const auto length = format::StreamHeader::length_of(stream);
  ASSERT_TRUE(length.is_ok()) << length.status().message();
  const auto back = format::StreamHeader::decode(std::span(stream).first(*length));
  ASSERT_TRUE(back.is_ok()) << back.status().message();
  const format::StreamHeader wanted = example_stream_header();
  EXPECT_EQ(back->uuid, wanted.uuid);
  EXPECT_TRUE(back->snapshot.same_snapshot(wanted.snapshot));
  EXPECT_TRUE(back->old.same_snapshot(wanted.old));
  EXPECT_TRUE(back->parent.same_snapshot(wanted.parent));
  EXPECT_EQ(back->snapshot.id, wanted.snapshot.id);
  EXPECT_TRUE(back->old_is_ancestor);
  EXPECT_EQ(back->name, wanted.name);
  EXPECT_EQ(back->description, wanted.description);
  EXPECT_EQ(back->old_name, wanted.old_name);
  EXPECT_EQ(back->parent_name, wanted.parent_name);
  std::span<const std::byte> rest = std::span(stream).subspan(*length);
  for (const auto type :
       {format::StreamRecordType::kData, format::StreamRecordType::kZeros, format::StreamRecordType::kEnd}) {
    const auto record = format::StreamRecord::decode(rest);
    ASSERT_TRUE(record.is_ok()) << record.status().message();
    EXPECT_EQ(record->type, type);
    const std::size_t size = format::StreamRecord::kSize + record->payload_size();
    EXPECT_TRUE(format::StreamRecord::crc_is_right(rest.first(size)));
    rest = rest.subspan(size);
  }
  EXPECT_TRUE(rest.empty());
}

}  // namespace
}  // namespace fvd::test
