#include "support/many_snapshots.h"

#include <array>
#include <vector>

#include "base/endian.h"
#include "format/directory.h"
#include "format/header.h"
#include "format/superblock.h"
#include "io/posix_file.h"

namespace fvd::test {

Status add_empty_snapshots(const std::string& path, std::uint32_t count) {
  auto file = PosixFile::open(path, {});
  if (!file) return file.status();
  std::array<std::byte, format::Header::kSize> page;
  if (Status s = (*file)->read(0, page); !s) return s;
  const auto header = format::Header::decode(page);
  if (!header) return header.status();
  format::Superblock newest;
  for (const std::uint64_t slot : header->superblock_offset) {
    std::array<std::byte, format::Superblock::kSize> bytes;
    if (Status s = (*file)->read(slot, bytes); !s) return s;
    const auto one = format::Superblock::decode(bytes, slot, header->uuid, header->geometry());
    if (one && one->sequence > newest.sequence) newest = *one;
  }
  std::vector<format::SnapshotRecord> records(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    records[i].id = i + 1;
    records[i].parent = i;
    records[i].virtual_size = newest.virtual_size;
    records[i].name = "s" + std::to_string(i + 1);
  }
  const std::vector<std::byte> directory = format::encode_directory(records);
  const format::Geometry geometry = header->geometry();
  newest.directory = {1, load_le<std::uint32_t>(directory.data() + 16), directory.size()};
  newest.snapshot_count = count;
  newest.next_snapshot_id = count + 1;
  newest.parent = count;
  ++newest.sequence;
  newest.self_offset = header->superblock_offset[newest.sequence & 1];
  std::array<std::byte, format::Superblock::kSize> bytes;
  newest.encode(bytes);
  const std::uint32_t last_chunk = geometry.object_chunks(directory.size());
  if (Status s = (*file)->truncate(geometry.file_offset(last_chunk) + geometry.chunk_size()); !s) return s;
  if (Status s = (*file)->write(geometry.file_offset(1), directory); !s) return s;
  return (*file)->write(newest.self_offset, bytes);
}

}  // namespace fvd::test
