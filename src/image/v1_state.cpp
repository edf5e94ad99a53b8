#include "image/v1_state.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/checked.h"
#include "base/endian.h"
#include "format/object.h"
#include "io/posix_file.h"

namespace fvd {

using format::V1Header;

namespace {

constexpr std::uint64_t kReadAtOnce = 1 << 20;

Status not_raw(const std::string& what, const std::string& kind) {
  return {Code::kUnsupported,
          what + " is not raw but " + kind + ", and only raw is supported; convert it to raw first"};
}

}  // namespace

Result<std::unique_ptr<V1State>> V1State::load(Storage& storage, bool without_base) try {
  std::array<std::byte, V1Header::kSize> bytes;
  if (Status s = storage.read(Structure::kHeader, 0, bytes); !s) return s;
  auto header = V1Header::decode(bytes);
  if (!header) return header.status();
  std::unique_ptr<V1State> state(new V1State(storage));
  state->header_ = std::move(*header);
  if (Status s = state->load_metadata(); !s) return s;
  if (!state->header_.clean) {
    if (Status s = state->replay_journal(); !s) return s;
  }
  if (state->header_.has_base()) {
    auto base = state->open_base();
    if (!base && !without_base) return base.status();
    state->base_ = base ? std::move(*base) : BaseImage::missing(state->header_.base_size, base.status());
  }
  if (Status s = state->open_data_file(); !s) return s;
  if (Status s = state->check_chunks(); !s) return s;
  return state;
} catch (const std::bad_alloc&) {
  return Status(Code::kIo, "not enough memory for its bitmap and lookup table", ENOMEM);
}

Status V1State::load_metadata() {
  const auto size = storage_.file().size();
  if (!size) return size.status();
  const auto allocated = storage_.file().allocated();
  if (!allocated) return allocated.status();
  for (const V1Header::Region& region : header_.regions()) {
    if (region.offset + region.size > *size) {
      return {Code::kCorrupt, std::string("the file ends before its ") + region.name + " does; it is cut short"};
    }
  }
  const std::uint64_t words = div_ceil(header_.base_blocks(), 64);
  const std::uint64_t table_bytes = std::uint64_t{header_.entries()} * 4;
  if (words * 8 + table_bytes > format::longest_credible(~std::uint64_t{0}, *allocated)) {
    return {Code::kCorrupt, "bitmap and lookup table are longer than the host has stored of this file"};
  }
  bitmap_.resize(words);
  const auto bits = std::as_writable_bytes(std::span(bitmap_)).first(header_.bitmap_bytes());
  if (Status s = storage_.read(Structure::kTable, header_.bitmap_offset, bits); !s) return s;
  for (std::uint64_t& word : bitmap_) word = load_le<std::uint64_t>(reinterpret_cast<const std::byte*>(&word));
  table_.resize(header_.entries());
  const auto entries = std::as_writable_bytes(std::span(table_));
  if (Status s = storage_.read(Structure::kTable, header_.table_offset, entries); !s) return s;
  for (std::uint32_t& entry : table_) {
    entry = load_le<std::uint32_t>(reinterpret_cast<const std::byte*>(&entry));
    if (entry != V1Header::kEmpty) entry &= ~V1Header::kDirty;
  }
  return Status::ok();
}

Status V1State::replay_journal() {
  const std::uint64_t end = header_.journal_offset + header_.journal_size;
  std::vector<std::byte> bytes(std::min(header_.journal_size, kReadAtOnce));
  for (std::uint64_t at = header_.journal_offset; at < end;) {
    // A hole holds no records, however large a hostile file says that it is.
    const auto data = storage_.file().seek_data(at, end);
    if (!data) return data.status();
    at += (*data - at) / format::kV1JournalSector * format::kV1JournalSector;
    if (at == end) break;
    const std::span<std::byte> piece = std::span(bytes).first(std::min<std::uint64_t>(bytes.size(), end - at));
    if (Status s = storage_.read(Structure::kJournal, at, piece); !s) return s;
    for (std::size_t i = 0; i < piece.size(); i += format::kV1JournalSector) {
      if (Status s = replay_sector(piece.subspan(i).first<format::kV1JournalSector>()); !s) return s;
    }
    at += piece.size();
  }
  set_bits();
  return Status::ok();
}

void V1State::merge_fetched() {
  std::sort(fetched_.begin(), fetched_.end());
  std::size_t last = 0;
  for (std::size_t i = 1; i < fetched_.size(); ++i) {
    if (fetched_[i].first <= fetched_[last].second) {
      fetched_[last].second = std::max(fetched_[last].second, fetched_[i].second);
    } else {
      fetched_[++last] = fetched_[i];
    }
  }
  fetched_.resize(std::min(fetched_.size(), last + 1));
}

void V1State::set_bits() {
  merge_fetched();
  for (const auto& [first, end] : fetched_) {
    for (std::uint64_t b = first; b < end; ++b) bitmap_[b / 64] |= std::uint64_t{1} << (b % 64);
  }
  fetched_ = {};
}

Status V1State::replay_sector(std::span<const std::byte, format::kV1JournalSector> sector) {
  return format::for_each_v1_record(sector, [this](const format::V1JournalRecord& record) { return apply(record); });
}

Status V1State::apply(const format::V1JournalRecord& record) {
  ++records_;
  if (!record.is_table) {
    const std::uint64_t base_sectors = header_.base_size / kSectorSize;
    if (!header_.has_base() || record.sectors == 0 || record.first_sector >= base_sectors) return Status::ok();
    const std::uint64_t last = std::min(record.first_sector + record.sectors, base_sectors) - 1;
    const std::uint64_t end = last * kSectorSize / header_.block_size + 1;
    fetched_.emplace_back(record.first_sector * kSectorSize / header_.block_size, end);
    if (fetched_.size() >= merge_at_) {
      merge_fetched();
      merge_at_ = std::max(merge_at_, 2 * fetched_.size());
    }
    return Status::ok();
  }
  if (!header_.compact) return Status::ok();
  if (record.first_chunk > table_.size() || record.count() > table_.size() - record.first_chunk) {
    return {Code::kCorrupt, "version 1 journal: a record is of chunks past the end of the disk"};
  }
  for (std::uint32_t i = 0; i < record.count(); ++i) {
    table_[record.first_chunk + i] = record.entry(i) & ~V1Header::kDirty;
    if (table_[record.first_chunk + i] == V1Header::kNoChunk) {
      return {Code::kCorrupt, "version 1 journal: a record maps virtual chunk " +
                                  std::to_string(record.first_chunk + i) + " to no chunk"};
    }
  }
  return Status::ok();
}

Result<std::unique_ptr<BaseImage>> V1State::open_base() {
  auto base = BaseImage::open(header_.base_path, header_.base_format, storage_.file().path(), header_.base_size);
  if (!base) return base;
  const std::string what = "base image " + header_.base_path;
  if (header_.base_format.empty()) {
    const auto kind = (*base)->probe();
    if (!kind) return kind.status();
    if (!kind->empty()) return not_raw(what, *kind);
  }
  const auto size = (*base)->file_size();
  if (!size) return size.status();
  if (*size < header_.base_size) {
    return Status(Code::kCorrupt, what + " has " + std::to_string(*size) + " bytes, and had " +
                                      std::to_string(header_.base_size) +
                                      " when the image was made; put the right one there");
  }
  return base;
}

Status V1State::open_data_file() {
  if (header_.data_path.empty()) return Status::ok();
  const std::string what = "data file " + header_.data_path;
  if (!header_.data_format.empty() && header_.data_format != "raw") return not_raw(what, header_.data_format);
  PosixFileOptions how;
  how.read_only = true;
  auto file = PosixFile::open(path_beside(storage_.file().path(), header_.data_path), how);
  if (!file) return {file.code(), "data file: " + file.status().message(), file.status().system_error()};
  if (header_.data_format.empty()) {
    const auto kind = probe_format(**file);
    if (!kind) return kind.status();
    if (!kind->empty()) return not_raw(what, *kind);
  }
  data_file_ = std::move(*file);
  return Status::ok();
}

// The original looks at the highest chunk only; a chunk that is not there means that the file was cut short.
Status V1State::check_chunks() {
  const auto size = store().size();
  if (!size) return size.status();
  std::uint64_t metadata_end = 0;
  for (const V1Header::Region& region : header_.regions()) {
    metadata_end = std::max(metadata_end, region.offset + region.size);
  }
  for (std::size_t v = 0; v < table_.size(); ++v) {
    if (table_[v] == V1Header::kEmpty) continue;
    ++mapped_;
    const std::string which = "virtual chunk " + std::to_string(v);
    const auto offset =
        table_[v] == V1Header::kNoChunk ? Result<std::uint64_t>(*size) : header_.chunk_offset(table_[v]);
    if (!offset) return offset.status();
    if (*offset >= *size || header_.chunk_size > *size - *offset) {
      return {Code::kCorrupt, "the data ends before chunk " + std::to_string(table_[v]) + " of " + which + " (" +
                                  std::to_string(*size) + " bytes); it is cut short, or the lookup table is damaged"};
    }
    if (*offset >= metadata_end) continue;
    if (Status s = header_.check_data(*offset, header_.chunk_size); !s) return {s.code(), which + ": " + s.message()};
  }
  return Status::ok();
}

std::uint32_t V1State::first_free_chunk() const {
  std::uint64_t first = 0;
  for (const std::uint32_t number : table_) {
    if (number != V1Header::kEmpty) first = std::max<std::uint64_t>(first, std::uint64_t{number} + 1);
  }
  for (const V1Header::Region& region : header_.regions()) {
    const std::uint64_t end = region.offset + region.size;
    if (end > header_.data_offset) first = std::max(first, div_ceil(end - header_.data_offset, header_.chunk_size));
  }
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(first, V1Header::kNoChunk));
}

Status V1State::check_unique() const {
  std::vector<std::uint32_t> numbers;
  numbers.reserve(mapped_);
  for (const std::uint32_t number : table_) {
    if (number != V1Header::kEmpty) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  const auto twice = std::adjacent_find(numbers.begin(), numbers.end());
  if (twice == numbers.end()) return Status::ok();
  return {Code::kCorrupt, "the lookup table names chunk " + std::to_string(*twice) + " twice; run fvd check"};
}

std::uint64_t V1State::end_of_run(std::uint64_t block, std::uint64_t end) const {
  const std::uint64_t same = in_image(block) ? ~std::uint64_t{0} : 0;
  for (std::uint64_t word = block / 64; word * 64 < end; ++word) {
    std::uint64_t differs = bitmap_[word] ^ same;
    if (word == block / 64) differs &= ~std::uint64_t{0} << (block % 64);
    if (differs != 0) return std::min(end, word * 64 + static_cast<std::uint64_t>(std::countr_zero(differs)));
  }
  return end;
}

V1State::Piece V1State::piece(std::uint64_t offset, std::uint64_t end) const {
  if (offset < header_.base_size && header_.has_base()) {
    const std::uint64_t block = offset / header_.block_size;
    const std::uint64_t stop = end_of_run(block, div_ceil(std::min(end, header_.base_size), header_.block_size));
    // Within the last block the bit says nothing of what lies past the base.
    const std::uint64_t run_end = std::min({end, header_.base_size, stop * header_.block_size});
    if (!in_image(block)) return {Piece::From::kBase, offset, run_end - offset, offset};
    if (run_end < header_.base_size) end = run_end;
  }
  if (!header_.compact) return {Piece::From::kStore, offset, end - offset, header_.data_offset + offset};
  std::uint64_t v = offset / header_.chunk_size;
  const std::uint64_t within = offset % header_.chunk_size;
  const std::uint32_t entry = table_[v];
  std::uint64_t stop = (v + 1) * header_.chunk_size;
  if (entry == V1Header::kEmpty) {
    while (stop < end && table_[++v] == V1Header::kEmpty) stop += header_.chunk_size;
    return {Piece::From::kZeros, offset, std::min(stop, end) - offset, 0};
  }
  for (std::uint32_t next = entry + 1; stop < end && table_[++v] == next; ++next) stop += header_.chunk_size;
  const std::uint64_t place = header_.data_offset + std::uint64_t{entry} * header_.chunk_size + within;
  return {Piece::From::kStore, offset, std::min(stop, end) - offset, place};
}

Status V1State::read_piece(const Piece& piece, std::span<std::byte> out) {
  switch (piece.from) {
    case Piece::From::kZeros:
      std::memset(out.data(), 0, out.size());
      return Status::ok();
    case Piece::From::kBase:
      return base_->read(piece.file_offset, out);
    case Piece::From::kStore:
      return data_file_ ? data_file_->read(piece.file_offset, out)
                        : storage_.read(Structure::kData, piece.file_offset, out);
  }
  return Status::ok();
}

Status V1State::read(std::uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const Piece part = piece(offset, offset + out.size());
    if (Status s = read_piece(part, out.first(part.length)); !s) return s;
    offset += part.length;
    out = out.subspan(part.length);
  }
  return Status::ok();
}

}  // namespace fvd
