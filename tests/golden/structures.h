// One example of each on-disk structure with a value of its own in every field; golden_test.cpp pins their bytes.
#ifndef FVD_TESTS_GOLDEN_STRUCTURES_H_
#define FVD_TESTS_GOLDEN_STRUCTURES_H_

#include <algorithm>
#include <array>
#include <vector>

#include "base/crc32c.h"
#include "base/endian.h"
#include "format/directory.h"
#include "format/header.h"
#include "format/journal.h"
#include "format/object.h"
#include "format/refcount.h"
#include "format/stream.h"
#include "format/superblock.h"
#include "format/table.h"

namespace fvd::test {

inline format::Uuid example_uuid() {
  format::Uuid uuid;
  for (std::size_t i = 0; i < uuid.size(); ++i) uuid[i] = static_cast<std::byte>(0xA0 + i);
  return uuid;
}

inline format::Header example_header() {
  format::Header h;
  h.chunk_log2 = 18;
  h.block_log2 = 14;
  h.journal_offset = 0x4000;
  h.journal_half_size = 0x100000;
  h.data_offset = 0x240000;
  h.superblock_offset = {0x1000, 0x2000};
  h.uuid = example_uuid();
  return h;
}

inline format::Superblock example_superblock() {
  format::Superblock s;
  s.self_offset = 0x2000;
  s.uuid = example_uuid();
  s.sequence = 0x0102030405060708;
  s.incompat = format::kIncompatBaseImage | format::kIncompatJournalData;
  s.flags = format::Superblock::kFlagClean;
  s.next_snapshot_id = 0x11121314;
  s.virtual_size = 0x123456 * 512ULL;
  s.epoch = 0x2122232425262728;
  s.journal_salt = 0x3132333435363738;
  s.parent = 0x01020304;
  s.snapshot_count = 0x4142;
  s.table = {0x11525354, 0x55565758, 0x0000595A5B5C5D5E};
  s.directory = {0x21626364, 0x65666768, 0x0000696A6B6C6D6E};
  s.refcounts = {0x31727374, 0x75767778, 0x0000797A7B7C7D7E};
  s.base_size = 0x81828384;
  s.base_format = "raw";
  s.base_path = "golden.img";
  return s;
}

inline std::vector<format::SnapshotRecord> example_records() {
  format::SnapshotRecord a;
  a.id = 2;
  a.flags = format::SnapshotRecord::kFlagHold;
  a.table = {0x11, 0x01020304, 0x2080};
  a.virtual_size = 0x100000;
  a.created_seconds = 0x0A0B0C0D0E;
  a.created_nanoseconds = 0x1A2B3C4D;
  a.mapped_bytes = 0x80000;
  a.name = "s1";
  a.description = "first";
  format::SnapshotRecord b;
  b.id = 5;
  b.parent = 2;
  b.virtual_size = 0x40200;
  b.created_seconds = -2;
  b.name = "gr\xC3\xBC\xC3\x9F";
  return {a, b};
}

// A table of four virtual chunks: EMPTY, complete, partial over a chunk, ZERO; and its partial record.
inline std::vector<std::byte> example_table() {
  format::TableHeader h;
  h.virtual_size = 4 * 0x40000 - 512;
  h.entries = 4;
  h.stored_groups = 1;
  h.partial_count = 1;
  h.bitmap_bytes = 8;
  std::vector<std::byte> object(h.length());
  h.encode(object);
  std::byte* page = object.data() + h.groups_offset();
  store_le<std::uint32_t>(page + 4, 7);
  store_le<std::uint32_t>(page + 8, 8 | format::kPartialFlag);
  store_le<std::uint32_t>(page + 12, format::kZero);
  std::byte* record = object.data() + h.partials_offset();
  store_le<std::uint32_t>(record, 2);
  store_le<std::uint32_t>(record + 4, 9);
  store_le<std::uint64_t>(record + 8, 0x8421);
  format::seal_object(object, format::kTableMagic);
  return object;
}

inline std::vector<std::byte> example_refcounts() {
  const format::RefcountHeader h{4};
  std::vector<std::byte> object(h.length());
  h.encode(object);
  store_le<std::uint16_t>(object.data() + 66, 1);
  store_le<std::uint16_t>(object.data() + 68, 0xFFFF);
  store_le<std::uint16_t>(object.data() + 70, 0x0203);
  format::seal_object(object, format::kRefcountMagic);
  return object;
}

inline std::vector<std::byte> example_batch(std::uint32_t* crc) {
  const std::uint64_t words[] = {0x0201};
  format::BatchBuilder batch;
  batch.add({1, 6, 0, 0, {}});
  batch.add({3, 10 | format::kPartialFlag, format::kOriginZero, 0, words});
  const auto bytes = batch.finish(0x1112131415161718, 0x2122232425262728, 0x31, 0x41424344, crc);
  return {bytes.begin(), bytes.end()};
}

inline std::vector<std::byte> example_data_batch(std::uint32_t* crc) {
  format::BatchBuilder batch;
  batch.add({1, 6, 0, 0, {}});
  batch.add_in_place();
  const auto place = batch.add_data(1, 0x2F, 1024);
  place.front() = std::byte{1};
  place.back() = std::byte{16};
  const auto bytes = batch.finish(0x1112131415161718, 0x2122232425262728, 0x31, 0x41424344, crc);
  return {bytes.begin(), bytes.end()};
}

inline format::ObjectRef ref_of(const std::vector<std::byte>& object, std::uint32_t chunk) {
  return {chunk, load_le<std::uint32_t>(object.data() + 16), object.size()};
}

inline format::StreamHeader example_stream_header() {
  format::StreamHeader h;
  h.uuid = example_uuid();
  h.snapshot = {0x0000010203040600, -0x1112131415161718, 0x21222324, 0x31323334};
  h.old = {0x0000020304050600, 0x4142434445464748, 0x11525354, 0x61626364};
  h.parent = {0x0000030405060800, 0x7172737475767778, 0x01828384, 0x91929394};
  h.old_is_ancestor = true;
  h.name = "new";
  h.description = "a stream";
  h.old_name = "o";
  h.parent_name = "old one";
  return h;
}

// A whole stream: the header, a record of each type.
inline std::vector<std::byte> example_stream() {
  std::vector<std::byte> stream = example_stream_header().encode();
  format::StreamRecord record;
  record.previous_crc = format::StreamHeader::crc_of(stream);
  format::StreamTotals totals;
  const auto add = [&](format::StreamRecordType type, std::uint64_t offset, std::uint64_t length,
                       std::span<const std::byte> payload) {
    record.type = type;
    record.offset = offset;
    record.length = length;
    ++record.sequence;
    std::vector<std::byte> bytes(format::StreamRecord::kSize);
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    record.previous_crc = record.seal(bytes);
    totals.crc = crc32c(bytes, totals.crc);
    stream.insert(stream.end(), bytes.begin(), bytes.end());
  };
  totals.crc = crc32c(stream);
  std::array<std::byte, 512> data{};
  for (std::size_t i = 0; i < 16; ++i) data[i] = static_cast<std::byte>(i + 1);
  add(format::StreamRecordType::kData, 0x010203040600, data.size(), data);
  add(format::StreamRecordType::kZeros, 0x010203040800, 0x1122334400, {});
  totals.records = 2;
  totals.data_bytes = data.size();
  totals.zero_bytes = 0x1122334400;
  std::array<std::byte, format::StreamTotals::kSize> end;
  totals.encode(end.data());
  add(format::StreamRecordType::kEnd, 0, end.size(), end);
  return stream;
}

}  // namespace fvd::test

#endif  // FVD_TESTS_GOLDEN_STRUCTURES_H_
