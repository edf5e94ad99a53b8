// The fields of every structure, as docs/format.md has them.
#include "base/endian.h"
#include "corrupt/corpus.h"
#include "format/journal.h"
#include "format/object.h"
#include "format/table.h"

namespace fvd::test {

using format::kPage;
using format::ObjectRef;

namespace {

class Collector {
 public:
  void begin(std::string structure, Guard guard) {
    structure_ = std::move(structure);
    guard_ = guard;
    last_batch_ = false;
  }
  void last_batch(bool last) { last_batch_ = last; }
  void add(const std::string& name, std::uint64_t offset, unsigned size, bool free = false) {
    fields_.push_back({structure_ + ": " + name, guard_, guard_.at + offset, size, free, last_batch_});
  }
  // A run of bytes: the first, the last and some in between.
  void bytes(const std::string& name, std::uint64_t offset, std::uint64_t length, bool free = false) {
    const std::uint64_t step = length < 16 ? 1 : length / 8;
    for (std::uint64_t i = 0; i < length; i += step) add(name + " byte " + std::to_string(i), offset + i, 1, free);
    add(name + ", last byte", offset + length - 1, 1, free);
  }
  void reference(const std::string& name, std::uint64_t offset) {
    add(name + " chunk", offset, 4);
    add(name + " CRC", offset + 4, 4);
    add(name + " length", offset + 8, 8);
  }
  std::vector<Field> take() && { return std::move(fields_); }

 private:
  std::string structure_;
  Guard guard_;
  bool last_batch_ = false;
  std::vector<Field> fields_;
};

void header_fields(Collector& out) {
  out.begin("header", {Guard::Kind::kHeader, 0, {}});
  out.bytes("magic", 0, 8);
  out.add("version", 8, 4);
  out.add("length", 12, 4);
  out.add("CRC", 16, 4);
  out.add("reserved", 20, 4);
  // With a right CRC a geometry may be any that nothing in the image contradicts.
  out.add("chunk_log2", 24, 4, true);
  out.add("block_log2", 28, 4, true);
  out.add("journal_offset", 32, 8, true);
  out.add("journal_half_size", 40, 8, true);
  out.add("data_offset", 48, 8, true);
  out.add("offset of slot 0", 56, 8);
  out.add("offset of slot 1", 64, 8);
  out.bytes("uuid", 72, 16);
  out.bytes("reserved", 88, kPage - 88);
}

void slot_fields(Collector& out, std::uint64_t at, const std::string& name) {
  out.begin(name, {Guard::Kind::kSlot, at, {}});
  out.bytes("magic", 0, 8);
  out.add("length", 8, 4);
  out.add("CRC", 12, 4);
  out.add("own offset", 16, 8);
  out.bytes("uuid", 24, 16);
  out.add("sequence", 40, 8);
  out.add("incompatible features", 48, 8);
  out.add("read-only-compatible features", 56, 8, true);
  out.add("compatible features", 64, 8, true);
  out.add("flags", 72, 4, true);
  out.add("next_snapshot_id", 76, 4, true);
  out.add("virtual_size", 80, 8, true);
  out.add("epoch", 88, 8, true);
  out.add("journal_salt", 96, 8, true);
  out.add("parent", 104, 4, true);
  out.add("snapshot_count", 108, 4);
  out.reference("base table", 112);
  out.reference("directory", 128);
  out.reference("counts", 144);
  out.add("base_size", 160, 8, true);
  out.bytes("base_format", 168, 16, true);
  out.bytes("base_path", 184, 1024, true);
  out.bytes("feature names", 1208, 1536, true);
  out.bytes("reserved", 2744, kPage - 2744);
}

void object_fields(Collector& out) {
  out.bytes("magic", 0, 8);
  out.add("length", 8, 8);
  out.add("CRC", 16, 4);
  out.add("reserved", 20, 4);
}

void directory_fields(Collector& out, const Anatomy& image) {
  const std::uint64_t at = image.at(image.superblock.directory);
  out.begin("directory", {Guard::Kind::kDirectory, at, image.superblock.directory});
  object_fields(out);
  out.add("count", 24, 4);
  out.bytes("reserved", 28, 36);
  for (std::size_t i = 0; i < image.records.size(); ++i) {
    const std::uint64_t record = image.record_at[i] - at;
    const format::SnapshotRecord& r = image.records[i];
    const std::string name = "record of " + r.name + ", ";
    out.add(name + "length", record, 4);
    out.add(name + "id", record + 4, 4, true);
    out.add(name + "parent", record + 8, 4, true);
    out.add(name + "flags", record + 12, 4, true);
    out.reference(name + "table", record + 16);
    out.add(name + "virtual_size", record + 32, 8);
    out.add(name + "created", record + 40, 8, true);
    out.add(name + "nanoseconds", record + 48, 4, true);
    out.add(name + "name length", record + 52, 2, true);  // may give a byte to the description, or take one
    out.add(name + "description length", record + 54, 2, true);
    out.add(name + "mapped_bytes", record + 56, 8);
    out.bytes(name + "name", record + 64, r.name.size(), true);
    if (!r.description.empty())
      out.bytes(name + "description", record + 64 + r.name.size(), r.description.size(), true);
  }
}

void table_fields(Collector& out, const Anatomy& image, const ObjectRef& ref, const std::string& name, bool of_front) {
  const std::uint64_t at = image.at(ref);
  out.begin(name, {Guard::Kind::kTable, at, ref});
  object_fields(out);
  out.add("virtual_size", 24, 8, of_front);  // the base table's may be smaller than the disk
  out.add("entries", 32, 4);
  out.add("stored_groups", 36, 4);
  out.add("partial_count", 40, 4);
  out.add("bitmap_bytes", 44, 4);
  out.add("reserved", 48, 8);
  out.add("reserved", 56, 8);
  const format::Geometry geometry = image.header.geometry();
  const auto header =
      format::TableHeader::decode(std::span(*image.bytes).subspan(at, 64), ref.length, geometry).value();
  // EMPTY and ZERO, and likewise the origins BASE and ZERO, may stand for each other.
  const auto names_chunk = [&](std::uint64_t offset) {
    const auto word = load_le<std::uint32_t>(image.bytes->data() + offset) & format::kChunkMask;
    return word != format::kEmpty && word != format::kZero;
  };
  for (std::uint32_t i = 0; i < header.stored_groups; ++i) {
    const std::uint64_t index = header.index_offset() + std::uint64_t{i} * 4;
    out.add("group index", index, 4, true);  // another one moves the entries: another disk, as valid as this one
    const std::uint32_t first = load_le<std::uint32_t>(image.bytes->data() + at + index) * format::kEntriesPerGroup;
    for (std::uint32_t e = 0; e < format::kEntriesPerGroup; ++e) {
      const std::uint64_t offset = header.groups_offset() + std::uint64_t{i} * format::kGroupBytes + e * 4;
      if (first + e < header.entries) {
        out.add("entry " + std::to_string(first + e), offset, 4, of_front || !names_chunk(at + offset));
      } else {
        out.add("entry past the last", offset, 4);
      }
    }
  }
  out.add("padding", header.index_offset() + std::uint64_t{header.stored_groups} * 4, 4);
  for (std::uint32_t i = 0; i < header.partial_count; ++i) {
    const std::uint64_t record = header.partials_offset() + i * header.partial_size();
    out.add("partial record, virtual chunk", record, 4);
    out.add("partial record, origin", record + 4, 4, of_front || !names_chunk(at + record + 4));
    out.add("partial record, bitmap", record + 8, 8, true);
  }
}

void count_fields(Collector& out, const Anatomy& image) {
  const ObjectRef& ref = image.superblock.refcounts;
  out.begin("reference counts", {Guard::Kind::kCounts, image.at(ref), ref});
  object_fields(out);
  out.add("count", 24, 4);
  out.bytes("reserved", 28, 36);
  const auto count = load_le<std::uint32_t>(image.bytes->data() + image.at(ref) + 24);
  for (std::uint32_t c = 0; c < count; ++c) {
    out.add("count of chunk " + std::to_string(c), format::kObjectHeader + std::uint64_t{c} * 2, 2);
  }
}

void batch_fields(Collector& out, const Anatomy& image, std::size_t number) {
  const std::uint64_t at = image.batches[number];
  out.begin("journal batch " + std::to_string(number + 1), {Guard::Kind::kBatch, at, {}});
  const bool last = number + 1 == image.batches.size();
  out.last_batch(last);
  out.add("magic", 0, 4, last);
  out.add("length", 4, 4, last);
  out.add("CRC", 8, 4, last);
  out.add("number of records", 12, 4, last);
  out.add("epoch", 16, 8, last);
  out.add("salt", 24, 8, last);
  out.add("sequence", 32, 8, last);
  out.add("previous CRC", 40, 4, last);
  out.bytes("reserved", 44, 20, last);
  std::uint64_t record = 64;
  const auto records = load_le<std::uint32_t>(image.bytes->data() + at + 12);
  for (std::uint32_t i = 0; i < records; ++i) {
    const std::string name = "record " + std::to_string(i) + ", ";
    if (load_le<std::uint32_t>(image.bytes->data() + at + record + 4) == format::JournalRecord::kDataEntry) {
      const auto sectors = load_le<std::uint32_t>(image.bytes->data() + at + record + 12);
      out.add(name + "virtual chunk", record, 4, last);
      out.add(name + "data", record + 4, 4, last);
      out.add(name + "first sector", record + 8, 4, last);
      out.add(name + "sectors", record + 12, 4, last);
      out.bytes(name + "content", record + 16, 32, last);
      record += 16 + std::uint64_t{sectors} * format::JournalRecord::kSector;
      continue;
    }
    const auto words = load_le<std::uint16_t>(image.bytes->data() + at + record + 14);
    out.add(name + "virtual chunk", record, 4, last);
    out.add(name + "entry", record + 4, 4, last);
    out.add(name + "origin", record + 8, 4, last);
    out.add(name + "first word", record + 12, 2, last);
    out.add(name + "word count", record + 14, 2, last);
    for (std::uint16_t w = 0; w < words; ++w) out.add(name + "word", record + 16 + std::uint64_t{w} * 8, 8, last);
    record += 16 + std::uint64_t{words} * 8;
  }
}

}  // namespace

std::vector<Field> fields_of(const Anatomy& image) {
  Collector out;
  header_fields(out);
  for (const std::uint64_t slot : image.header.superblock_offset) {
    slot_fields(out, slot, slot == image.superblock.self_offset ? "newest superblock" : "older superblock");
  }
  if (!image.superblock.directory.is_none()) directory_fields(out, image);
  bool base_is_a_snapshots = false;
  for (const format::SnapshotRecord& r : image.records) {
    if (!r.table.is_none()) table_fields(out, image, r.table, "table of " + r.name, false);
    base_is_a_snapshots = base_is_a_snapshots || r.table == image.superblock.table;
  }
  if (!image.superblock.table.is_none() && !base_is_a_snapshots) {
    table_fields(out, image, image.superblock.table, "base table", true);
  }
  if (!image.superblock.refcounts.is_none()) count_fields(out, image);
  for (std::size_t i = 0; i < image.batches.size(); ++i) batch_fields(out, image, i);
  return std::move(out).take();
}

}  // namespace fvd::test
