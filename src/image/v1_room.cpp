#include "image/v1_room.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/checked.h"
#include "base/endian.h"
#include "format/layout.h"
#include "format/v1_header.h"

namespace fvd {

using format::kPage;
using format::V1Header;

namespace {

constexpr std::uint64_t kCopyAtOnce = 1 << 20;
// In page 0, all in one sector, so that they change together.
constexpr std::size_t kCompactAt = 2208;
constexpr std::size_t kTableOffsetAt = 2212;
constexpr std::size_t kChunkSizeAt = 2220;
constexpr std::size_t kGrowUnitAt = 2228;
static_assert(kCompactAt / 512 == (kGrowUnitAt + 7) / 512);

Status copy(Storage& storage, std::uint64_t from, std::uint64_t to, std::uint64_t length) {
  std::vector<std::byte> buffer(std::min(length, kCopyAtOnce));
  while (length > 0) {
    const std::span<std::byte> piece = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), length));
    if (Status s = storage.read(Structure::kData, from, piece); !s) return s;
    if (Status s = storage.write(Structure::kData, to, piece); !s) return s;
    from += piece.size();
    to += piece.size();
    length -= piece.size();
  }
  return Status::ok();
}

Status write_entries(Storage& storage, std::uint64_t offset, std::span<const std::uint32_t> entries,
                     std::uint64_t padded) {
  std::vector<std::byte> bytes(std::max<std::uint64_t>(padded, entries.size() * 4), std::byte{0xFF});
  for (std::size_t v = 0; v < entries.size(); ++v) store_le(bytes.data() + v * 4, entries[v]);
  return storage.write(Structure::kTable, offset, bytes);
}

Status grow(Storage& storage, std::uint64_t size) {
  const auto have = storage.file().size();
  if (!have) return have.status();
  return *have >= size ? Status::ok() : storage.file().truncate(size);
}

// An image without a lookup table gets one, in chunks behind the data.
Status add_table(Storage& storage, V1State& state, std::uint64_t chunk_size) {
  const V1Header& header = state.header();
  const auto chunks = static_cast<std::uint32_t>(div_ceil(header.virtual_size, chunk_size));
  const auto place = [&](std::uint64_t number) { return header.data_offset + number * chunk_size; };
  const std::uint64_t table_bytes = align_up(std::uint64_t{chunks} * 4, kPage);
  const auto moved = chunks + static_cast<std::uint32_t>(div_ceil(table_bytes, chunk_size));
  if (Status s = grow(storage, place(moved + 1)); !s) return s;
  std::vector<std::uint32_t> entries(chunks);
  for (std::uint32_t v = 0; v < chunks; ++v) {
    const auto data = storage.file().seek_data(place(v), place(v + 1));
    if (!data) return data.status();
    entries[v] = *data == place(v + 1) ? V1Header::kEmpty : v;  // a hole reads as zeros either way
  }
  if (entries[0] == 0) {
    if (Status s = copy(storage, place(0), place(moved), chunk_size); !s) return s;
    entries[0] = moved;
  }
  if (Status s = write_entries(storage, place(chunks), entries, table_bytes); !s) return s;
  if (Status s = storage.sync(); !s) return s;
  std::array<std::byte, kPage> page;
  if (Status s = storage.read(Structure::kHeader, 0, page); !s) return s;
  store_le<std::uint32_t>(page.data() + kCompactAt, 1);
  store_le(page.data() + kTableOffsetAt, place(chunks));
  store_le(page.data() + kChunkSizeAt, chunk_size);
  store_le(page.data() + kGrowUnitAt, chunk_size);
  if (Status s = storage.write(Structure::kHeader, 0, page); !s) return s;
  return storage.sync();
}

}  // namespace

Status settle_v1_journal(Storage& storage, const V1State& state) {
  const V1Header& header = state.header();
  // Cut anywhere here, the journal still counts, and replaying it over what was written gives the same.
  if (!state.bitmap().empty()) {
    std::vector<std::byte> bits(state.bitmap().size() * 8);
    for (std::size_t w = 0; w < state.bitmap().size(); ++w) store_le(bits.data() + w * 8, state.bitmap()[w]);
    bits.resize(header.bitmap_bytes());
    if (Status s = storage.write(Structure::kTable, header.bitmap_offset, bits); !s) return s;
  }
  if (!state.table().empty()) {
    if (Status s = write_entries(storage, header.table_offset, state.table(), 0); !s) return s;
  }
  if (Status s = storage.sync(); !s) return s;
  std::array<std::byte, kPage> page;
  if (Status s = storage.read(Structure::kHeader, kPage, page); !s) return s;
  store_le<std::uint32_t>(page.data() + (V1Header::kCleanAt - kPage), 1);
  if (Status s = storage.write(Structure::kHeader, kPage, page); !s) return s;
  return storage.sync();
}

Status move_v1_chunk_0(Storage& storage, V1State& state, std::uint64_t chunk_size) {
  const V1Header& header = state.header();
  if (!header.compact) return add_table(storage, state, chunk_size);
  const auto owner =
      static_cast<std::size_t>(std::find(state.table().begin(), state.table().end(), 0) - state.table().begin());
  if (owner == state.table().size()) return Status::ok();
  const std::uint32_t moved = state.first_free_chunk();
  const auto to = header.chunk_offset(moved);
  if (!to) return to.status();
  if (Status s = grow(storage, *to + header.chunk_size); !s) return s;
  if (Status s = copy(storage, header.data_offset, *to, header.chunk_size); !s) return s;
  if (Status s = storage.sync(); !s) return s;
  // An entry lies in one sector, which is old or new.
  const std::array<std::uint32_t, 1> entry{moved};
  if (Status s = write_entries(storage, header.table_offset + owner * 4, entry, 0); !s) return s;
  return storage.sync();
}

}  // namespace fvd
