#include "corrupt/corpus.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "format/journal.h"
#include "format/object.h"

namespace fvd::test {

using format::Header;
using format::kPage;
using format::ObjectRef;
using format::Superblock;

namespace {

constexpr std::uint64_t kChunks = 24;

Bytes content(CrashDisk& disk) {
  const auto file = disk.open();
  Bytes bytes(file->size().value());
  EXPECT_OK(file->read(0, bytes));
  // A file grows ahead of its chunks; without what is spare, what lies beyond the end is near.
  while (!bytes.empty() && bytes.back() == std::byte{0}) bytes.pop_back();
  bytes.resize(align_up(bytes.size(), kSmallChunk));
  return bytes;
}

void grow_tree(Image& image) {
  write_all(image, 0, pattern(6 * kSmallChunk, 1));
  take(image, "a");
  write_all(image, 4096, pattern(4096, 2));
  write_all(image, kSmallChunk + 8192, pattern(4096, 3));
  EXPECT_OK(image.snapshot_create("b", "the second"));
  write_all(image, 5 * kSmallChunk, pattern(kSmallChunk, 7));
  take(image, "gone");
  EXPECT_OK(image.snapshot_goto("a"));
  EXPECT_OK(image.snapshot_delete("gone"));
  write_all(image, 2 * kSmallChunk, pattern(kSmallChunk, 4));
  take(image, "c");
  EXPECT_OK(image.snapshot_set_hold("c", true));
  write_all(image, 3 * kSmallChunk, pattern(4096, 5));
  write_all(image, 8 * kSmallChunk, pattern(kSmallChunk, 8));
}

Bytes make(bool close, const std::string& base) {
  CreateOptions options = small_chunks(kChunks * kSmallChunk);
  options.journal_half_size = 32 * 1024;
  if (!base.empty()) {
    options.base_path = base;
    options.base_format = "raw";
  }
  const auto disk = make_disk(options);
  auto image = open_disk(*disk);
  if (base.empty()) {
    grow_tree(*image);
  } else {
    write_all(*image, 4096, pattern(8192, 1));
    EXPECT_OK(image->discard(2 * kSmallChunk, 2 * kSmallChunk));
    take(*image, "a");
    write_all(*image, 0, pattern(4096, 2));
  }
  if (close) {
    EXPECT_OK(image->close());
    return content(*disk);
  }
  EXPECT_OK(image->flush());
  write_all(*image, 12 * kSmallChunk, pattern(4096, 6));
  EXPECT_OK(image->flush());
  EXPECT_OK(image->discard(8 * kSmallChunk, kSmallChunk));
  write_all(*image, kSmallChunk, pattern(512, 9));
  EXPECT_OK(image->flush());
  write_all(*image, 14 * kSmallChunk + 1024, pattern(512, 10));
  EXPECT_OK(image->flush());
  return content(*disk->clone());  // as if the process had been killed: the journal stays
}

Bytes make_based() {
  static const TemporaryDirectory directory;  // the base image is opened whenever the image is
  const std::string path = directory.file("base.raw");
  const Bytes data = pattern(7 * kSmallChunk, 20);
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(data.data()), 7 * kSmallChunk);
  return make(false, path);
}

Bytes make_young() {
  CreateOptions options = small_chunks(kChunks * kSmallChunk);
  options.journal_half_size = 16 * 1024;
  const auto disk = make_disk(options);
  const auto file = disk->open();
  Bytes bytes(file->size().value());
  EXPECT_OK(file->read(0, bytes));
  return bytes;
}

// A copy of some pages of an image, to compute CRCs over what was changed.
class Patched {
 public:
  explicit Patched(const Bytes& image) : image_(image) {}
  void put(std::uint64_t offset, Bytes data) { patches_.push_back({offset, std::move(data)}); }
  void put(std::uint64_t offset, std::uint32_t value) {
    Bytes data(4);
    store_le(data.data(), value);
    put(offset, std::move(data));
  }
  [[nodiscard]] Bytes get(std::uint64_t offset, std::uint64_t length) const {
    Bytes out(length);
    if (offset < image_.size()) {
      std::memcpy(out.data(), image_.data() + offset, std::min<std::uint64_t>(length, image_.size() - offset));
    }
    for (const Patch& p : patches_) {
      for (std::uint64_t i = 0; i < p.data.size(); ++i) {
        const std::uint64_t at = p.offset + i;
        if (at >= offset && at < offset + length) out[at - offset] = p.data[i];
      }
    }
    return out;
  }
  // Stores the CRC of [at + from, at + length) at `at + to`, and returns it.
  std::uint32_t seal(std::uint64_t at, std::uint64_t from, std::uint64_t length, std::uint64_t to) {
    const std::uint32_t crc = crc32c(get(at + from, length - from));
    put(at + to, crc);
    return crc;
  }
  std::vector<Patch> take() && { return std::move(patches_); }

 private:
  const Bytes& image_;
  std::vector<Patch> patches_;
};

}  // namespace

const std::vector<Specimen>& corpus() {
  static const std::vector<Specimen> all = {
      {"rich", make(false, "")}, {"closed", make(true, "")}, {"based", make_based()}, {"young", make_young()}};
  return all;
}

Anatomy::Anatomy(const Bytes& image) : bytes(&image) {
  header = Header::decode(std::span<const std::byte, kPage>(image.data(), kPage)).value();
  for (const std::uint64_t slot : header.superblock_offset) {
    auto s = Superblock::decode(std::span<const std::byte, kPage>(image.data() + slot, kPage), slot, header.uuid,
                                header.geometry());
    if (s && s->sequence > superblock.sequence) superblock = *s;
  }
  chunk_limit = header.geometry().chunks_in(image.size());
  if (!superblock.directory.is_none()) {
    const auto object = std::span(image).subspan(at(superblock.directory), superblock.directory.length);
    records = format::decode_directory(object, superblock.directory, header.geometry(), chunk_limit,
                                       superblock.next_snapshot_id)
                  .value();
    std::uint64_t next = at(superblock.directory) + format::kObjectHeader;
    for (std::size_t i = 0; i < records.size(); ++i) {
      record_at.push_back(next);
      next += load_le<std::uint32_t>(image.data() + next);
    }
  }
  const std::uint64_t half = header.journal_offset + (superblock.epoch & 1) * header.journal_half_size;
  std::uint32_t previous = 0;
  for (std::uint64_t offset = 0; offset < header.journal_half_size;) {
    format::JournalBatch batch;
    if (!format::decode_batch_header(std::span(image).subspan(half + offset, kPage), superblock.epoch,
                                     superblock.journal_salt, batches.size() + 1, previous,
                                     header.journal_half_size - offset, &batch)) {
      break;
    }
    batches.push_back(half + offset);
    previous = batch.crc;
    offset += align_up(batch.length, kPage);
  }
}

std::vector<Patch> damage(const Anatomy& image, const Field& field, std::uint64_t value, bool sealed) {
  Patched out(*image.bytes);
  Bytes data(field.size);
  for (unsigned i = 0; i < field.size; ++i) data[i] = static_cast<std::byte>(value >> (8 * i) & 0xFF);
  out.put(field.offset, std::move(data));
  if (!sealed) return std::move(out).take();

  const std::uint64_t slot = image.superblock.self_offset;
  const auto seal_slot = [&](std::uint64_t at) { out.seal(at, 16, kPage, 12); };
  const auto seal_object = [&](std::uint64_t at, const ObjectRef& ref) {
    return out.seal(at, format::kCrcStart, ref.length, 16);
  };
  const auto seal_directory = [&] {
    const ObjectRef& ref = image.superblock.directory;
    out.put(slot + 128 + 4, seal_object(image.at(ref), ref));
  };
  switch (field.guard.kind) {
    case Guard::Kind::kHeader:
      out.seal(0, 20, kPage, 16);
      break;
    case Guard::Kind::kSlot:
      seal_slot(field.guard.at);
      break;
    case Guard::Kind::kCounts:
      out.put(slot + 144 + 4, seal_object(field.guard.at, field.guard.ref));
      seal_slot(slot);
      break;
    case Guard::Kind::kTable: {
      const std::uint32_t crc = seal_object(field.guard.at, field.guard.ref);
      if (image.superblock.table == field.guard.ref) out.put(slot + 112 + 4, crc);
      for (std::size_t i = 0; i < image.records.size(); ++i) {
        if (image.records[i].table == field.guard.ref) out.put(image.record_at[i] + 16 + 4, crc);
      }
      if (!image.records.empty()) seal_directory();
      seal_slot(slot);
      break;
    }
    case Guard::Kind::kDirectory:
      seal_directory();
      seal_slot(slot);
      break;
    case Guard::Kind::kBatch: {
      const auto length = load_le<std::uint32_t>(out.get(field.guard.at + 4, 4).data());
      if (length >= 64 && length <= image.header.journal_half_size) out.seal(field.guard.at, 12, length, 8);
      break;
    }
  }
  return std::move(out).take();
}

std::vector<std::uint64_t> wrong_values(const Anatomy& image, const Field& field) {
  std::uint64_t now = 0;
  for (unsigned i = 0; i < field.size; ++i) {
    now |= std::to_integer<std::uint64_t>((*image.bytes)[field.offset + i]) << (8 * i);
  }
  const std::uint64_t mask = field.size == 8 ? ~0ULL : (1ULL << (8 * field.size)) - 1;
  std::set<std::uint64_t> values = {0,
                                    1,
                                    2,
                                    63,
                                    64,
                                    511,
                                    512,
                                    kPage,
                                    mask,
                                    mask - 1,
                                    mask >> 1,
                                    now + 1,
                                    now - 1,
                                    now * 2,
                                    now / 2,
                                    image.bytes->size(),
                                    image.bytes->size() - 1,
                                    std::uint64_t{image.chunk_limit},
                                    std::uint64_t{image.chunk_limit} + 1,
                                    format::kZero,
                                    format::kMaxChunk,
                                    format::kPartialFlag,
                                    format::kSharedFlag,
                                    image.superblock.directory.first_chunk,
                                    image.superblock.refcounts.first_chunk,
                                    image.superblock.table.first_chunk,
                                    image.superblock.virtual_size};
  for (std::uint32_t c = 1; c <= image.chunk_limit && field.size == 4; ++c) values.insert(c);
  for (unsigned bit = 0; bit < 8 * field.size; ++bit) values.insert(now ^ (1ULL << bit));
  std::set<std::uint64_t> fitting;
  for (const std::uint64_t v : values) {
    if ((v & mask) != now) fitting.insert(v & mask);
  }
  return {fitting.begin(), fitting.end()};
}

void use_as_a_program(std::unique_ptr<File> file) {
  auto image = Image::open_on(std::move(file), quiet());
  if (!image) {
    EXPECT_FALSE(image.status().message().empty());
    return;
  }
  Bytes out(kSmallChunk);
  for (std::uint64_t at = 0; at < (*image)->virtual_size() && at < 64 * kSmallChunk; at += kSmallChunk) {
    (void)(*image)->read(at, out).is_ok();
  }
  (void)(*image)->write(0, out).is_ok();
  (void)(*image)->snapshot_create("after").is_ok();
  (void)(*image)->snapshot_goto("a").is_ok();
  (void)(*image)->snapshot_delete("b").is_ok();
  (void)(*image)->close().is_ok();
}

}  // namespace fvd::test
