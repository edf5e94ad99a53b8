#include "image/upgrade.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <memory>
#include <new>

#include "base/checked.h"
#include "base/shell.h"
#include "format/superblock.h"
#include "image/random.h"
#include "image/v1_mapping.h"
#include "image/v1_room.h"
#include "image/v1_state.h"
#include "io/borrowed_file.h"
#include "io/posix_file.h"
#include "io/storage.h"
#include "snapshot/table_capture.h"

namespace fvd {

using format::Header;
using format::kPage;
using format::Superblock;
using format::V1Header;
using format::V1Upgrade;

namespace {

constexpr std::uint64_t kFlatChunkSize = kDefaultChunkSize;  // of what has no lookup table
constexpr std::uint64_t kMaxJournalHalf = 16 << 20;
constexpr std::uint64_t kSlots = 2 * std::uint64_t{kPage};
constexpr std::uint64_t kMaxDataOffset = 1ULL << 40;  // of a header of version 2

Status named(const Status& s, const std::string& path) {
  return {s.code(), "image " + path + ": " + s.message(), s.system_error()};
}

Status not_in_place(const std::string& path, const std::string& why) {
  return {Code::kUnsupported, "it cannot be brought to version 2 in place, since " + why +
                                  "; copy it into a new image with: fvd convert -O fvd " +
                                  shell_operands({path, "NEW"})};
}

// What geometry stands in the way, whatever is moved.
Status check_geometry(const V1Header& h, const std::string& path) {
  if (!h.data_path.empty()) return not_in_place(path, "its data is in a file of its own");
  if (h.virtual_size > format::kMaxVirtualSize) {
    return {Code::kUnsupported, "the disk is larger than version 2 can hold (64 TiB)"};
  }
  const std::uint64_t chunk_size = h.compact ? h.chunk_size : kFlatChunkSize;
  if (!is_power_of_two(chunk_size) || chunk_size < (1ULL << format::kMinChunkLog2) ||
      chunk_size > (1ULL << format::kMaxChunkLog2)) {
    return not_in_place(path, "its chunks are not of 64 KiB, 128 KiB, ... or 64 MiB");
  }
  if (div_ceil(h.virtual_size, chunk_size) > format::kMaxVirtualChunks) {
    return not_in_place(path, "it has more than 268,435,456 chunks");
  }
  if (h.data_offset % kPage != 0) return not_in_place(path, "its data does not begin at a multiple of 4096 bytes");
  if (h.data_offset < V1Header::kRegion || h.data_offset > kMaxDataOffset) {
    return not_in_place(path, "its data begins where version 2 has no data");
  }
  for (const V1Header::Region& region : h.regions()) {
    if (region.offset != 0 && region.offset < V1Header::kRegion) {
      return not_in_place(path, std::string("its ") + region.name + " lies in the header's pages");
    }
    if (!h.compact && region.offset >= h.data_offset) {
      return not_in_place(path, std::string("its ") + region.name + " lies behind the data");
    }
  }
  return Status::ok();
}

// Whether the superblocks can be written right before `data_offset` while version 1 still counts.
bool has_room(const V1Header& h, std::uint64_t data_offset) {
  if (data_offset < kV1UpgradeRoom) return false;
  for (const V1Header::Region& region : h.regions()) {
    if (region.offset == h.journal_offset && h.journal_size != 0) continue;  // it means nothing by then
    if (region.offset < data_offset && region.offset + region.size > data_offset - kSlots) return false;
  }
  return true;
}

class Upgrade {
 public:
  explicit Upgrade(File& file) : storage_(std::make_unique<BorrowedFile>(file)) {}

  Status run() {
    if (Status s = prepare(); !s) return s;
    const auto chunk_log2 = static_cast<std::uint32_t>(std::countr_zero(chunk_size()));
    V1Mapping mapping(storage_, *state_, chunk_log2, skipped_);
    mapping.survey();
    if (Status s = choose_header(mapping.geometry()); !s) return s;
    const auto front = std::make_unique<Front>(header_.geometry());
    if (Status s = mapping.build(*front); !s) return s;
    if (Status s = write_table(*front, mapping.next_chunk()); !s) return s;
    if (Status s = write_superblocks(); !s) return s;
    if (Status s = storage_.sync(); !s) return s;
    return change_version();
  }

 private:
  [[nodiscard]] std::uint64_t chunk_size() const {
    return state_->header().compact ? state_->header().chunk_size : kFlatChunkSize;
  }

  Status load() {
    auto state = V1State::load(storage_);
    if (!state) return state.status();
    state_ = std::move(*state);
    return Status::ok();
  }

  // Afterwards the journal means nothing, and there is room before chunk `skipped_`. Still version 1.
  Status prepare() {
    if (Status s = load(); !s) return s;
    if (Status s = check_geometry(state_->header(), storage_.file().path()); !s) return s;
    if (Status s = state_->check_unique(); !s) return s;
    // A killed program's last writes must be durable before anything builds on them.
    if (Status s = storage_.sync(); !s) return s;
    if (!state_->header().clean && state_->header().journal_size != 0) {
      if (Status s = settle_v1_journal(storage_, *state_); !s) return s;
      if (Status s = load(); !s) return s;
    }
    if (has_room(state_->header(), state_->header().data_offset)) return Status::ok();
    if (Status s = move_v1_chunk_0(storage_, *state_, chunk_size()); !s) return s;
    if (Status s = load(); !s) return s;
    skipped_ = 1;
    if (has_room(state_->header(), state_->header().data_offset + chunk_size())) return Status::ok();
    return not_in_place(storage_.file().path(), "there is no room for its metadata before the data");
  }

  Status choose_header(const format::Geometry& geometry) {
    header_.chunk_log2 = geometry.chunk_log2;
    header_.block_log2 = geometry.block_log2;
    header_.data_offset = geometry.data_offset;
    header_.superblock_offset = {geometry.data_offset - kSlots, geometry.data_offset - kPage};
    // Over what was bitmap, table and journal: nothing is written there before the version has changed.
    const std::uint64_t room = header_.superblock_offset[0] - V1Header::kRegion;
    header_.journal_half_size = std::min(align_down(room / 2, kPage), kMaxJournalHalf);
    header_.journal_offset = header_.superblock_offset[0] - 2 * header_.journal_half_size;
    return make_uuid(&header_.uuid);
  }

  Status write_table(Front& front, std::uint32_t first_chunk) {
    const format::Geometry geometry = header_.geometry();
    TableCapture capture(geometry);
    capture.prepare(front);
    capture.take(front, false);
    capture.finish(state_->virtual_size());
    if (capture.empty()) return Status::ok();
    const std::uint32_t chunks = geometry.object_chunks(capture.object().size());
    if (std::uint64_t{first_chunk} + chunks > format::kMaxChunk) {
      return not_in_place(storage_.file().path(), "it has more chunks than version 2 can number");
    }
    const auto size = storage_.file().size();
    if (!size) return size.status();
    const std::uint64_t end = geometry.file_offset(first_chunk + chunks);
    if (*size < end) {
      if (Status s = storage_.file().truncate(end); !s) return s;
    }
    table_ = {first_chunk, capture.crc(), capture.object().size()};
    return storage_.write(Structure::kTable, geometry.file_offset(first_chunk), capture.object());
  }

  Status write_superblocks() {
    const V1Header& h = state_->header();
    Superblock superblock;
    superblock.uuid = header_.uuid;
    superblock.incompat = format::kIncompatJournalData;
    superblock.sequence = 1;
    superblock.self_offset = header_.superblock_offset[1];
    superblock.virtual_size = h.virtual_size;
    superblock.epoch = 1;
    if (Status s = fill_random(std::as_writable_bytes(std::span(&superblock.journal_salt, 1))); !s) return s;
    superblock.table = table_;
    if (h.has_base()) {
      superblock.incompat |= format::kIncompatBaseImage;
      superblock.base_path = h.base_path;
      superblock.base_format = h.base_format;
      superblock.base_size = h.base_size;
    }
    std::array<std::byte, kSlots> slots{};
    const auto slot = std::span(slots).subspan<kPage>();
    superblock.encode(slot);
    const auto decoded = Superblock::decode(slot, superblock.self_offset, header_.uuid, header_.geometry());
    if (!decoded) return decoded.status();
    return storage_.write(Structure::kSuperblock, header_.superblock_offset[0], slots);
  }

  Status change_version() {
    std::array<std::byte, format::kIdentityBytes> pages;
    if (Status s = storage_.read(Structure::kHeader, 0, pages); !s) return s;
    const std::span first(pages);
    const V1Upgrade upgrade = V1Upgrade::of(first.first<kPage>(), header_);
    if (const auto header = Header::decode(upgrade.new_page); !header) return header.status();
    upgrade.encode(first.subspan<V1Upgrade::kOffset, V1Upgrade::kSize>());
    if (Status s = storage_.write(Structure::kHeader, kPage, first.subspan<kPage>()); !s) return s;
    if (Status s = storage_.sync(); !s) return s;
    if (Status s = finish_upgrade(storage_.file(), header_); !s) return s;
    // What is left of version 1 means nothing to anybody.
    std::fill(pages.begin() + kPage, pages.end(), std::byte{0});
    if (Status s = storage_.write(Structure::kHeader, kPage, first.subspan<kPage>()); !s) return s;
    return storage_.sync();
  }

  Storage storage_;
  std::unique_ptr<V1State> state_;
  Header header_;
  std::uint32_t skipped_ = 0;
  format::ObjectRef table_;
};

}  // namespace

Result<format::Identity> identify(File& file) {
  std::array<std::byte, format::kIdentityBytes> first;
  if (Status s = file.read(0, first); !s) return s;
  return format::identify(first);
}

Status finish_upgrade(File& file, const Header& header) {
  std::array<std::byte, kPage> page;
  header.encode(page);
  if (Status s = file.write(0, page); !s) return s;
  return file.sync();
}

Status upgrade_to_version_2(File& file) try { return Upgrade(file).run(); } catch (const std::bad_alloc&) {
  return {Code::kIo, "not enough memory for the upgrade", ENOMEM};
}

Result<bool> Image::upgrade(const std::string& path) {
  PosixFileOptions how;
  how.read_only = true;
  auto file = PosixFile::open(path, how);
  if (!file) return file.status();
  const auto identity = identify(**file);
  if (!identity) return identity.status();
  if (identity->kind == format::Identity::Kind::kVersion2 && !identity->torn) return false;
  if (identity->kind == format::Identity::Kind::kUnknown) return named(identity->why, path);
  how.read_only = false;
  how.lock = LockMode::kExclusive;
  file = PosixFile::open(path, how);
  if (!file) return file.status();
  return upgrade_on(std::move(*file));
}

Result<bool> Image::upgrade_on(std::unique_ptr<File> file) {
  const std::string path = file->path();
  const auto identity = identify(*file);
  if (!identity) return identity.status();
  if (identity->kind == format::Identity::Kind::kVersion2 && !identity->torn) return false;
  if (identity->kind == format::Identity::Kind::kVersion1) {
    if (Status s = upgrade_to_version_2(*file); !s) return named(s, path);
  }
  // Finishes an upgrade that was cut, sees whether all is well, and gives back what version 1 had and nothing uses.
  OpenOptions once;
  once.completion_idle = std::chrono::milliseconds(0);
  auto image = open_on(std::move(file), once);
  if (!image) return image.status();
  if (Status s = (*image)->close(); !s) return s;
  return true;
}

}  // namespace fvd
