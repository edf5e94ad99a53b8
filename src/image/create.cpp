// Creating an image, and what one will take at most.
#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>

#include "backing/base_image.h"
#include "base/checked.h"
#include "format/header.h"
#include "format/superblock.h"
#include "format/table.h"
#include "fvd/image.h"
#include "image/random.h"
#include "io/borrowed_file.h"
#include "io/posix_file.h"
#include "io/same_file.h"
#include "io/storage.h"

namespace fvd {

using format::Header;
using format::kPage;
using format::Superblock;

namespace {

// A half of the journal holds about what the lookup table takes: then a checkpoint, which writes the table, comes once
// for as many bytes of journal. The data of small syncs goes there too, so it is also some part of the disk. A file has
// storage of the host's only where the journal is used; of a device, all of it is taken.
constexpr std::uint64_t kMinJournalHalf = 4 << 20;
constexpr std::uint64_t kMaxJournalHalf = 16 << 20;
constexpr std::uint64_t kDiskToJournalHalf = 64;
constexpr std::uint64_t kMinJournalHalfOnDevice = 1 << 20;
constexpr std::uint64_t kDeviceToJournalHalf = 256;

Status named(const Status& s, const std::string& path) {
  return {s.code(), "image " + path + ": " + s.message(), s.system_error()};
}

std::uint64_t journal_half_of(std::uint64_t chunks, std::uint64_t virtual_size, bool on_device) {
  const std::uint64_t part = virtual_size / (on_device ? kDeviceToJournalHalf : kDiskToJournalHalf);
  return std::clamp<std::uint64_t>(align_up(std::max(chunks * 4, part), kPage),
                                   on_device ? kMinJournalHalfOnDevice : kMinJournalHalf, kMaxJournalHalf);
}

// The header of a new image, all but its uuid.
Header layout_of(const CreateOptions& options, std::uint64_t virtual_size, bool on_device) {
  Header header;
  header.chunk_log2 = static_cast<std::uint32_t>(std::countr_zero(options.chunk_size));
  header.block_log2 = static_cast<std::uint32_t>(std::countr_zero(options.block_size));
  const std::uint64_t chunks = (virtual_size + options.chunk_size - 1) >> header.chunk_log2;
  header.journal_offset = 4 * std::uint64_t{kPage};
  header.journal_half_size =
      options.journal_half_size != 0 ? options.journal_half_size : journal_half_of(chunks, virtual_size, on_device);
  header.data_offset = align_up(header.journal_offset + 2 * header.journal_half_size,
                                std::min<std::uint64_t>(options.chunk_size, 1 << 20));
  return header;
}

Status write_new_image(Storage& storage, const CreateOptions& options, std::uint64_t virtual_size,
                       std::uint64_t base_size) {
  Header header = layout_of(options, virtual_size, storage.file().is_block_device());
  if (Status s = make_uuid(&header.uuid); !s) return s;

  Superblock superblock;
  superblock.uuid = header.uuid;
  superblock.sequence = 1;
  superblock.incompat = format::kIncompatJournalData;
  superblock.self_offset = header.superblock_offset[1];
  superblock.flags = Superblock::kFlagClean;
  superblock.virtual_size = virtual_size;
  superblock.epoch = 1;
  if (Status s = fill_random(std::as_writable_bytes(std::span(&superblock.journal_salt, 1))); !s) return s;
  if (!options.base_path.empty()) {
    superblock.incompat |= format::kIncompatBaseImage;
    superblock.base_path = options.base_path;
    superblock.base_format = options.base_format;
    superblock.base_size = base_size;
  }

  File& file = storage.file();
  if (!file.is_block_device()) {
    if (Status s = file.truncate(0); !s) return s;
  }
  if (Status s = file.truncate(header.data_offset); !s) return s;
  if (Status s = storage.zero(0, header.data_offset); !s) return s;
  std::array<std::byte, kPage> page;
  superblock.encode(page);
  if (Status s = storage.write(Structure::kSuperblock, superblock.self_offset, page); !s) return s;
  if (Status s = storage.sync(); !s) return s;
  // The header makes it an image; it goes last.
  header.encode(page);
  if (Status s = storage.write(Structure::kHeader, 0, page); !s) return s;
  return storage.sync();
}

// Checks the options; what they amount to goes to *virtual_size and *base_size.
Status check_options(const CreateOptions& options, const std::string& path, std::uint64_t* virtual_size,
                     std::uint64_t* base_size) {
  if (!is_power_of_two(options.chunk_size) || options.chunk_size < (1U << format::kMinChunkLog2) ||
      options.chunk_size > (1U << format::kMaxChunkLog2)) {
    return {Code::kInvalid, "the chunk size is a power of two from 64K to 64M"};
  }
  if (!is_power_of_two(options.block_size) || options.block_size < (1U << format::kMinBlockLog2) ||
      options.block_size > options.chunk_size || options.chunk_size / options.block_size > format::kMaxBlocksPerChunk) {
    return {Code::kInvalid,
            "the block size is a power of two from 512 to the chunk size, and at least a 16,384th of it"};
  }
  if (options.journal_half_size % kPage != 0) return {Code::kInvalid, "a journal half is a multiple of 4096 bytes"};
  *base_size = 0;
  *virtual_size = options.virtual_size;
  if (!options.base_path.empty()) {
    if (options.base_path.size() > format::kMaxBasePath || options.base_format.size() > format::kMaxBaseFormat) {
      return {Code::kInvalid, "the base image's path is longer than 1,023 bytes, or its format than 15"};
    }
    if (same_file(path, path_beside(path, options.base_path))) {
      return {Code::kInvalid, "it is its own base image; choose another name, or another base"};
    }
    auto base = BaseImage::open(options.base_path, options.base_format, path, 0);
    if (!base) return base.status();
    if (options.base_format.empty()) {
      const auto kind = (*base)->probe();
      if (!kind) return kind.status();
      if (!kind->empty()) {
        return {Code::kUnsupported, "base image " + options.base_path + " is not raw but " + *kind +
                                        "; convert it to raw first, or give the format raw to take it as it stands"};
      }
    }
    auto size = (*base)->file_size();
    if (!size) return size.status();
    if (*virtual_size == 0) *virtual_size = *size;
    *base_size = *size;
  }
  const std::uint64_t limit = std::min(format::kMaxVirtualSize, format::kMaxVirtualChunks * options.chunk_size);
  if (*virtual_size == 0) return {Code::kInvalid, "the virtual size of an image is at least 512 bytes"};
  if (*virtual_size > limit) {
    return {Code::kInvalid, limit < format::kMaxVirtualSize
                                ? "the virtual size exceeds 268,435,456 chunks; choose a larger chunk size"
                                : "the virtual size exceeds 64 TiB"};
  }
  *virtual_size = align_up(*virtual_size, kSectorSize);
  *base_size = std::min(*base_size, *virtual_size);
  return Status::ok();
}

}  // namespace

Result<ImageMeasure> Image::measure(const CreateOptions& options, std::uint64_t data_chunks) {
  std::uint64_t virtual_size = 0;
  std::uint64_t base_size = 0;
  if (Status s = check_options(options, "", &virtual_size, &base_size); !s) return s;
  const format::Geometry geometry = layout_of(options, virtual_size, false).geometry();
  const std::uint64_t chunks = geometry.virtual_chunks(virtual_size);
  format::TableHeader table;
  table.stored_groups = static_cast<std::uint32_t>(div_ceil(chunks, format::kEntriesPerGroup));
  // A checkpoint writes the new table before the old one is free, and space for two more is held meanwhile.
  const std::uint64_t table_chunks = 4 * std::uint64_t{geometry.object_chunks(table.length())};
  const auto bytes = [&](std::uint64_t data) {
    return geometry.data_offset + ((data + table_chunks) << geometry.chunk_log2);
  };
  return ImageMeasure{bytes(std::min(data_chunks, chunks)), bytes(chunks)};
}

Status Image::create_on(File& file, const CreateOptions& options) {
  std::uint64_t virtual_size = 0;
  std::uint64_t base_size = 0;
  if (Status s = check_options(options, file.path(), &virtual_size, &base_size); !s) return s;
  Storage storage(std::make_unique<BorrowedFile>(file));
  return write_new_image(storage, options, virtual_size, base_size);
}

Status Image::create(const std::string& path, const CreateOptions& options) {
  std::uint64_t virtual_size = 0;
  std::uint64_t base_size = 0;
  if (Status s = check_options(options, path, &virtual_size, &base_size); !s) return named(s, path);
  PosixFileOptions how;
  how.lock = LockMode::kExclusive;
  how.create = !options.overwrite;
  how.create_or_reuse = options.overwrite;
  auto file = PosixFile::open(path, how);
  if (!file) {
    if (file.code() != Code::kExists) return file.status();
    return {Code::kExists, path + " exists already; choose another name, or overwrite it with --force", EEXIST};
  }
  Storage storage(std::move(*file));
  Status s = write_new_image(storage, options, virtual_size, base_size);
  if (s.is_ok() && !storage.file().is_block_device()) s = sync_directory_of(path);
  if (!s && !storage.file().is_block_device()) (void)::remove(path.c_str());
  return s.is_ok() ? s : named(s, path);
}

}  // namespace fvd
