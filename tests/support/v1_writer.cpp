#include "support/v1_writer.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "support/image_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kHeaderRegion = 8192;
constexpr std::uint32_t kNone = 0xFFFFFFFF;
constexpr std::uint32_t kDirtyBit = 0x80000000;

std::uint64_t pages(std::uint64_t bytes) { return (bytes + 4095) / 4096 * 4096; }

template <typename T>
void put(Bytes& to, std::size_t at, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) to[at + i] = static_cast<std::byte>(value >> (8 * i) & 0xFF);
}
void put_text(Bytes& to, std::size_t at, const std::string& text) { std::memcpy(&to[at], text.data(), text.size()); }

void save_file(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

Bytes v1_base(std::size_t size) { return pattern(size, 7); }

V1Writer::V1Writer(V1Options options) : options_(std::move(options)) {
  content_.resize(options_.size);
  std::uint64_t end = kHeaderRegion;
  if (has_base()) {
    base_size_ = std::min<std::uint64_t>(options_.base.size() / 512 * 512, options_.size);
    std::copy_n(options_.base.begin(), base_size_, content_.begin());
    const std::uint64_t blocks = (base_size_ + options_.block_size - 1) / options_.block_size;
    bitmap_size_ = pages((blocks + 7) / 8);
    bitmap_.resize(bitmap_size_);
    end += bitmap_size_;
  }
  table_offset_ = end;
  if (options_.chunk_size != 0) {
    const std::uint64_t entries = (options_.size + options_.chunk_size - 1) / options_.chunk_size;
    table_.assign(pages(entries * 4) / 4, kNone);
    end += table_.size() * 4;
  }
  journal_offset_ = end;
  if (has_base() || options_.chunk_size != 0) {
    journal_.resize(pages(options_.journal_size));
    end += journal_.size();
  }
  data_offset_ = options_.data_path.empty() ? end : 0;
  bitmap_on_disk_ = bitmap_;
  table_on_disk_ = table_;
}

void V1Writer::store(std::uint64_t offset, const std::byte* data, std::uint64_t length) {
  while (length > 0) {
    std::uint64_t place = offset;
    std::uint64_t n = length;
    if (options_.chunk_size != 0) {
      const std::uint64_t within = offset % options_.chunk_size;
      n = std::min(length, options_.chunk_size - within);
      place = table_[offset / options_.chunk_size] * options_.chunk_size + within;
    }
    if (store_.size() < place + n) store_.resize(place + n);
    std::copy_n(data, n, store_.begin() + static_cast<std::ptrdiff_t>(place));
    offset += n;
    data += n;
    length -= n;
  }
}

void V1Writer::write(std::uint64_t offset, const Bytes& data) {
  std::copy(data.begin(), data.end(), content_.begin() + static_cast<std::ptrdiff_t>(offset));
  const std::uint64_t end = offset + data.size();
  bool news = false;
  // What a block that is not in the image yet has besides is copied up, as far as the base goes.
  std::uint64_t from = offset;
  std::uint64_t to = end;
  const std::uint64_t block = options_.block_size;
  const auto bit = [&](std::uint64_t b) { return (bitmap_[b / 8] >> (b % 8) & std::byte{1}) != std::byte{0}; };
  if (has_base() && offset < base_size_) {
    const std::uint64_t last = (std::min(end, base_size_) - 1) / block;
    if (!bit(offset / block)) from = offset / block * block;
    if (end <= base_size_ && !bit(last)) to = std::min((last + 1) * block, base_size_);
    for (std::uint64_t b = offset / block; b <= last; ++b) {
      news = news || !bit(b);
      bitmap_[b / 8] |= std::byte{1} << (b % 8);
    }
  }
  if (options_.chunk_size != 0) {
    for (std::uint64_t v = from / options_.chunk_size; v * options_.chunk_size < to; ++v) {
      if (table_[v] != kNone) continue;
      table_[v] = next_chunk_++;
      store_.resize(std::max<std::size_t>(store_.size(), next_chunk_ * options_.chunk_size));
      news = true;
    }
  } else {
    store_.resize(options_.size);
  }
  store(from, &content_[from], to - from);
  if (news && !journal_.empty()) log(from, to - from);
}

void V1Writer::log(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = offset + length;
  const std::uint64_t per_sector = has_base() ? 121 : 125;
  std::uint64_t v = options_.chunk_size != 0 ? offset / options_.chunk_size : 0;
  std::uint64_t first = offset;
  while (first < end) {
    Bytes sector(512, std::byte{0x5A});  // what follows the records is whatever was in memory
    std::size_t at = 0;
    std::uint64_t stop = end;
    if (options_.chunk_size != 0) {
      const std::uint64_t last = std::min(v + per_sector, (end + options_.chunk_size - 1) / options_.chunk_size);
      put<std::uint32_t>(sector, 0, 0xB4E6F7AC);
      put(sector, 4, static_cast<std::uint32_t>(v));
      put(sector, 8, static_cast<std::uint32_t>(last - v));
      for (at = 12; v < last; ++v, at += 4) put(sector, at, table_[v] | kDirtyBit);
      stop = std::min(end, v * options_.chunk_size);
    }
    if (has_base()) {
      put<std::uint32_t>(sector, at, 0x3F2AB8ED);
      put(sector, at + 4, static_cast<std::uint32_t>((stop - first) / 512));
      put(sector, at + 8, first / 512);
      at += 16;
    }
    if (at + 4 <= 512) put<std::uint32_t>(sector, at, 0);
    first = stop;
    if (cursor_ + 512 > journal_.size()) recycle();
    std::copy(sector.begin(), sector.end(), journal_.begin() + static_cast<std::ptrdiff_t>(cursor_));
    cursor_ += 512;
  }
}

void V1Writer::recycle() {
  bitmap_on_disk_ = bitmap_;
  table_on_disk_ = table_;
  cursor_ = 0;
}

Bytes V1Writer::closed() const { return image(bitmap_, table_, true); }
Bytes V1Writer::killed() const { return image(bitmap_on_disk_, table_on_disk_, false); }

Bytes V1Writer::image(const Bytes& bitmap, const std::vector<std::uint32_t>& table, bool clean) const {
  const bool compact = options_.chunk_size != 0;
  Bytes h(kHeaderRegion);
  put<std::uint32_t>(h, 0, 0x5143F5A9);
  put<std::uint32_t>(h, 4, 1);
  put<std::uint32_t>(h, 8, has_base() ? 0 : 1);
  put(h, 12, options_.size);
  put(h, 20, options_.data_path.empty() ? data_offset_ : journal_offset_ + journal_.size());
  if (has_base()) {
    put_text(h, 28, options_.base_path);
    put(h, 1068, base_size_);
    put(h, 1076, kHeaderRegion);
    put(h, 1084, bitmap_size_);
    put(h, 1092, options_.block_size);
    put<std::uint64_t>(h, 1100, 2000000);
    put<std::uint32_t>(h, 2148, kNone);
    put<std::uint32_t>(h, 2168, 2);
    put<std::uint32_t>(h, 2172, 1048576);
  }
  put_text(h, 1108, options_.data_path);
  if (compact) {
    put<std::uint32_t>(h, 2208, 1);
    put(h, 2212, table_offset_);
    put(h, 2220, options_.chunk_size);
    put(h, 2228, options_.chunk_size);
  }
  if (!journal_.empty()) {
    put(h, 4284, journal_offset_);
    put<std::uint64_t>(h, 4292, journal_.size());
  }
  put<std::uint32_t>(h, 4300, clean ? 1 : 0);
  h.insert(h.end(), bitmap.begin(), bitmap.end());
  h.resize(h.size() + table.size() * 4);
  for (std::size_t v = 0; v < table.size(); ++v) put(h, table_offset_ + v * 4, table[v]);
  h.insert(h.end(), journal_.begin(), journal_.end());
  if (options_.data_path.empty()) h.insert(h.end(), store_.begin(), store_.end());
  return h;
}

void V1Writer::save(const std::string& image_path, bool clean) const {
  const std::filesystem::path directory = std::filesystem::path(image_path).parent_path();
  save_file(image_path, clean ? closed() : killed());
  if (has_base()) save_file(directory / options_.base_path, options_.base);
  if (!options_.data_path.empty()) save_file(directory / options_.data_path, store_);
}

std::vector<V1Case> v1_cases() {
  const auto with_base = [](V1Options options, std::size_t base_size, std::uint32_t block_size) {
    options.base_path = "base.raw";
    options.base = v1_base(base_size);
    options.block_size = block_size;
    return options;
  };
  const V1Options compact{.size = 40 * 65536 + 512, .chunk_size = 65536};
  const V1Options odd{.size = 3000 * 1024, .chunk_size = 36864};
  const V1Options flat{.size = 2 * kMiB + 1024};
  V1Options no_journal = compact;
  no_journal.journal_size = 0;
  V1Options data_file = flat;
  data_file.data_path = "disk.data";
  V1Options compact_data_file = with_base(odd, 1000000, 4096);
  compact_data_file.data_path = "disk.data";
  V1Options short_journal = with_base(compact, 1000000, 1536);
  short_journal.journal_size = 4096;
  return {{"Compact", compact},
          {"OddChunks", odd},
          {"Flat", flat},
          {"NoJournal", no_journal},
          {"DataFile", data_file},
          {"CompactDataFile", compact_data_file},
          {"ShortJournal", short_journal},
          {"FlatOverBase", with_base(flat, 1000001, 65536)},
          {"FlatOverBaseOddBlocks", with_base(flat, 1000001, 1536)},
          {"CompactOverBase", with_base(compact, 1500000, 512)},
          {"CompactOverBaseOddBlocks", with_base(compact, 1500000, 3584)},
          {"CompactOverBaseLargeBlocks", with_base(compact, 1500000, 1 << 20)},
          {"OddOverLongBase", with_base(odd, 4000000, 10240)}};
}

void write_some(V1Writer& writer) {
  const std::uint64_t size = writer.content().size();
  const std::uint64_t sectors = size / 512;
  std::uint64_t at = 12345;
  for (std::uint64_t i = 0; i < 30; ++i) {
    at = at * 6364136223846793005ULL + 1442695040888963407ULL;
    const std::uint64_t first = (at >> 20) % sectors;
    const std::uint64_t count = std::min<std::uint64_t>(sectors - first, 1 + (at >> 50) % (i % 5 == 0 ? 300 : 9));
    writer.write(first * 512, pattern(count * 512, i + 1));
  }
}

}  // namespace fvd::test
