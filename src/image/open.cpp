// Opening, recovering and closing an image. Recovery writes nothing: it reads the newest superblock, its base table
// and the journal, and derives from the reference counts which chunks are in use and which of the front's are shared.
#include <algorithm>
#include <array>
#include <mutex>
#include <new>

#include "base/checked.h"
#include "base/endian.h"
#include "format/table.h"
#include "image/image_impl.h"
#include "image/upgrade.h"
#include "image/v1_image.h"
#include "io/posix_file.h"
#include "map/block_bits.h"
#include "snapshot/objects.h"
#include "snapshot/refcounts.h"

namespace fvd {

using format::Header;
using format::kChunkMask;
using format::kPartialFlag;
using format::kSharedFlag;
using format::Superblock;

namespace {

constexpr std::chrono::seconds kReclaimAtClose{2};

Status named(const Status& s, const std::string& path) {
  const bool checkable = s.code() == Code::kCorrupt && s.message().find("run fvd check") == std::string::npos;
  return {s.code(), "image " + path + ": " + s.message() + (checkable ? "; run fvd check" : ""), s.system_error()};
}

bool is_version_1(const std::string& path) {
  PosixFileOptions how;
  how.read_only = true;
  const auto file = PosixFile::open(path, how);
  const auto identity = file ? identify(**file) : Result<format::Identity>(file.status());
  return identity && identity->kind == format::Identity::Kind::kVersion1;
}

}  // namespace

Result<std::unique_ptr<Image>> Image::open(const std::string& path, const OpenOptions& options) {
  if (options.force_share && !options.read_only) {
    return Status(Code::kInvalid, "an image can be shared by force for reading only");
  }
  if (options.without_base && !options.read_only) {
    return Status(Code::kInvalid, "an image can be opened without its base for reading only");
  }
  PosixFileOptions how;
  how.read_only = options.read_only;
  how.lock = options.force_share ? LockMode::kNone : options.read_only ? LockMode::kShared : LockMode::kExclusive;
  auto file = PosixFile::open(path, how);
  // Whoever may only read a version 1 image, or reads it beside others, misses nothing that it has.
  if (!file && !options.read_only && is_version_1(path)) return V1Image::refusal(path);
  if (!file) return file.status();
  return open_on(std::move(*file), options);
}

Result<std::unique_ptr<Image>> Image::open_on(std::unique_ptr<File> file, const OpenOptions& options) {
  const std::string path = file->path();
  const auto identity = identify(*file);
  if (!identity) return named(identity.status(), path);
  if (identity->kind == format::Identity::Kind::kVersion1) {
    if (!options.read_only) return V1Image::refusal(path);
    auto image = V1Image::open(std::move(file), options);
    if (!image) return named(image.status(), path);
    return image;
  }
  if (identity->kind == format::Identity::Kind::kUnknown) return named(identity->why, path);
  if (identity->torn && !options.read_only) {
    if (Status s = finish_upgrade(*file, identity->header); !s) return named(s, path);
  }
  auto image = std::make_unique<ImageImpl>(std::move(file), identity->header, options);
  if (Status s = image->recover(); !s) return named(s, path);
  image->start_background();
  return std::unique_ptr<Image>(std::move(image));
}

ImageImpl::ImageImpl(std::unique_ptr<File> file, const Header& header, const OpenOptions& options)
    : storage_(std::move(file)),
      header_(header),
      geometry_(header.geometry()),
      options_(options),
      read_only_(options.read_only),
      front_(geometry_),
      allocator_(storage_.file(), geometry_),
      reclaimer_(storage_, geometry_, allocator_),
      held_(storage_, geometry_, allocator_),
      journal_(storage_, header_),
      recent_(journal_.most_data()) {}

Status ImageImpl::load_superblock() {
  std::array<Result<Superblock>, 2> slots{Status(Code::kCorrupt, "not read"), Status(Code::kCorrupt, "not read")};
  std::array<format::SlotRemains, 2> remains;
  for (std::size_t i = 0; i < 2; ++i) {
    std::array<std::byte, Superblock::kSize> page;
    const std::uint64_t offset = header_.superblock_offset[i];
    if (Status s = storage_.read(Structure::kSuperblock, offset, page); !s) return s;
    slots[i] = Superblock::decode(page, offset, header_.uuid, geometry_);
    remains[i] = format::SlotRemains::of(page, offset, header_.uuid);
  }
  const std::size_t newest = slots[0] && (!slots[1] || slots[0]->sequence > slots[1]->sequence) ? 0 : 1;
  // An unknown feature must not be dodged by falling back to a superblock from before it.
  for (const auto& slot : slots) {
    if (slot.code() == Code::kUnsupported) return slot.status();
  }
  if (!slots[newest]) return slots[newest].status();
  if (slots[0] && slots[1] && slots[0]->sequence == slots[1]->sequence) {
    return {Code::kCorrupt, "both superblocks have the same sequence number; run fvd check"};
  }
  superblock_ = *slots[newest];
  // A write that was cut leaves a wrong CRC. With a right one it was written so, and may have been acknowledged.
  const format::SlotRemains& other = remains[1 - newest];
  if (!read_only_ && !slots[1 - newest] && !other.blank && other.crc_is_right &&
      other.sequence > superblock_.sequence) {
    return {Code::kCorrupt, "the newer superblock cannot be used (" + slots[1 - newest].status().message() +
                                "); open the image read-only, or run fvd check"};
  }
  if ((superblock_.ro_compat & ~format::kKnownRoCompat) != 0 && !read_only_) {
    return {Code::kUnsupported, "it has features that this version can only read; open it read-only"};
  }
  return Status::ok();
}

Status ImageImpl::load_table(const format::ObjectRef& ref, Front& front, const std::string& what) {
  if (ref.is_none()) return Status::ok();
  auto object =
      read_object(storage_, Structure::kTable, geometry_, ref,
                  format::TableHeader::longest(geometry_, std::uint64_t{front.table.size()} << geometry_.chunk_log2));
  if (!object) return object.status();
  auto table = format::TableView::parse(*object, ref, geometry_, allocator_.chunks_in_file());
  if (!table) return {table.code(), what + ": " + table.status().message() + "; run fvd check"};
  if (table->header().entries > front.table.size()) {
    return {Code::kCorrupt, what + " is larger than the disk; run fvd check"};
  }
  std::uint32_t mapped = 0;
  for (std::uint32_t i = 0; i < table->header().stored_groups; ++i) {
    const std::span<const std::byte> group = table->group(i);
    const std::uint32_t first = table->group_number(i) * format::kEntriesPerGroup;
    const std::uint32_t count = std::min(format::kEntriesPerGroup, table->header().entries - first);
    for (std::uint32_t e = 0; e < count; ++e) {
      const auto entry = load_le<std::uint32_t>(group.data() + std::size_t{e} * 4);
      if (entry == format::kEmpty) continue;
      front.table.store(first + e, entry);
      mapped += names_chunk(entry) ? 1 : 0;
    }
  }
  front.mapped.store(mapped);
  for (std::uint32_t i = 0; i < table->header().partial_count; ++i) {
    const format::PartialRecord record = table->partial(i);
    const PartialMap::Entry partial =
        front.stripe(record.virtual_chunk).partials.insert(record.virtual_chunk, record.origin);
    for (std::size_t w = 0; w < partial.words.size(); ++w) {
      partial.words[w] = load_le<std::uint64_t>(record.bitmap.data() + w * 8);
    }
  }
  return Status::ok();
}

Status ImageImpl::replay_journal() {
  position_ = {superblock_.epoch, superblock_.journal_salt, 0, 1, 0};
  return journal_.replay(position_, geometry_, front_.table.size(), allocator_.chunks_in_file(),
                         [&](const format::JournalRecord& r, std::uint64_t batch_offset) {
                           const std::uint64_t at = std::uint64_t{r.virtual_chunk} << geometry_.chunk_log2;
                           if (r.kind == format::JournalRecord::Kind::kInPlace) return journaled_.clear();
                           if (r.kind == format::JournalRecord::Kind::kData) {
                             const std::uint64_t within =
                                 std::uint64_t{r.first_sector} * format::JournalRecord::kSector;
                             return journaled_.put(at + within, r.data.size(), batch_offset + r.data_offset);
                           }
                           const std::uint32_t old = front_.table.load(r.virtual_chunk);
                           if (((old ^ r.entry) & kChunkMask) != 0) journaled_.drop(at, geometry_.chunk_size());
                           if (names_chunk(old)) front_.mapped.fetch_sub(1);
                           if (names_chunk(r.entry)) front_.mapped.fetch_add(1);
                           PartialMap& partials = front_.stripe(r.virtual_chunk).partials;
                           partials.erase(r.virtual_chunk);
                           if ((r.entry & kPartialFlag) != 0) {
                             const PartialMap::Entry partial = partials.insert(r.virtual_chunk, r.origin);
                             std::copy(r.words.begin(), r.words.end(), partial.words.begin() + r.first_word);
                           }
                           front_.table.store(r.virtual_chunk, r.entry);
                         });
}

// What commits have put into the journal only goes to its place, as if it had just been written; a reader that must not
// write looks it up instead.
Status ImageImpl::put_journaled_data_in_place() {
  std::vector<std::byte> buffer;
  for (JournaledData::Range r = journaled_.next(0); r.length != 0; r = journaled_.next(r.offset + r.length)) {
    // Within one chunk, as the record is that it comes from.
    const auto v = static_cast<std::uint32_t>(r.offset >> geometry_.chunk_log2);
    const std::uint64_t within = r.offset & (geometry_.chunk_size() - 1);
    const std::uint32_t entry = v < front_.table.size() ? front_.table.load(v) : format::kEmpty;
    if (!is_own(entry)) {
      return {Code::kCorrupt, "the journal has data for a chunk that is not current-state's own; run fvd check"};
    }
    if ((entry & kPartialFlag) != 0) {
      const PartialMap::Entry partial = front_.stripe(v).partials.find(v);
      const auto last = static_cast<std::uint32_t>(div_ceil(within + r.length, geometry_.block_size()));
      if (run_end(partial.words, static_cast<std::uint32_t>(within >> geometry_.block_log2), last, true) != last) {
        return {Code::kCorrupt, "the journal has data for blocks that are not present; run fvd check"};
      }
    }
    if (read_only_) continue;
    buffer.resize(r.length);
    if (Status s = storage_.read(Structure::kJournal, r.source, buffer); !s) return s;
    const std::uint64_t place = geometry_.file_offset(entry & kChunkMask) + within;
    Status s = storage_.write(Structure::kData, place, buffer);
    if (s.code() == Code::kNoSpace && !storage_.file().is_block_device() &&
        journal_.lend_idle_half(superblock_.epoch, header_.journal_half_size)) {
      s = storage_.write(Structure::kData, place, buffer);
    }
    if (!s) {
      if (s.code() != Code::kNoSpace) return s;
      return {s.code(), "the host has no space left for data that the journal holds; make some, or open it read-only",
              s.system_error()};
    }
    journal_has_data_.store(true, std::memory_order_release);
  }
  if (!read_only_) journaled_.clear();
  return Status::ok();
}

// Finds out which chunks are in use, and marks the front's entries that a snapshot (or another entry) shares.
Status ImageImpl::derive_use() {
  const std::uint32_t limit = allocator_.chunks_in_file();
  Bits metadata(limit + 1);
  const auto claim = [&](const format::ObjectRef& ref, const char* what, const std::string& whose = {}) {
    if (ref.is_none()) return Status::ok();
    for (std::uint32_t i = 0; i < geometry_.object_chunks(ref.length); ++i) {
      if (metadata.set(ref.first_chunk + i)) {
        return Status(Code::kCorrupt, what + whose + " lies over another structure; run fvd check");
      }
    }
    return Status::ok();
  };
  const auto records = directory_.records();
  bool table_is_a_snapshots = false;
  for (const format::SnapshotRecord& r : *records) {
    if (Status s = claim(r.table, "the table of snapshot ", r.name); !s) return s;
    table_is_a_snapshots = table_is_a_snapshots || r.table == superblock_.table;
  }
  if (!table_is_a_snapshots) {
    if (Status s = claim(superblock_.table, "the base table"); !s) return s;
  }
  if (Status s = claim(superblock_.directory, "the snapshot directory"); !s) return s;
  if (Status s = claim(superblock_.refcounts, "the reference-count table"); !s) return s;

  auto counts = Refcounts::load(storage_, geometry_, superblock_.refcounts, limit);
  if (!counts) return counts.status();
  Bits used = metadata;
  for (std::uint32_t c = 1; c <= limit; ++c) {
    if (counts->get(c) != 0 && used.set(c)) {
      return {Code::kCorrupt, "a chunk that holds metadata is counted as a snapshot's; run fvd check"};
    }
  }
  // What only the front reaches: named once, it is the front's own; named twice, it counts as shared.
  Bits seen(limit + 1);
  Bits twice(limit + 1);
  bool sound = true;
  const auto is_counted = [&](std::uint32_t chunk) {
    sound = sound && !metadata.test(chunk);
    used.set(chunk);
    if (counts->get(chunk) != 0) return true;
    if (seen.set(chunk)) twice.set(chunk);
    return false;
  };
  const Status overlap(Code::kCorrupt, "the lookup table names a chunk that holds metadata; run fvd check");
  front_.table.for_each_entry([&](std::uint32_t v, std::uint32_t entry) {
    if (names_chunk(entry) && is_counted(entry & kChunkMask)) front_.table.store(v, entry | kSharedFlag);
  });
  std::uint64_t partial_count = 0;
  for (Front::Stripe& s : front_.stripes) {
    s.partials.for_each([&](std::uint32_t, const PartialMap::Entry& partial) {
      ++partial_count;
      const std::uint32_t origin = *partial.origin;
      partial.set_origin_owned(names_chunk(origin) && !is_counted(origin));
    });
  }
  if (!sound) return overlap;
  if (!twice.empty()) {
    front_.table.for_each_entry([&](std::uint32_t v, std::uint32_t entry) {
      if (names_chunk(entry) && twice.test(entry & kChunkMask)) front_.table.store(v, entry | kSharedFlag);
    });
    for (Front::Stripe& s : front_.stripes) {
      s.partials.for_each([&](std::uint32_t, const PartialMap::Entry& partial) {
        if (twice.test(*partial.origin)) partial.set_origin_owned(false);
      });
    }
  }
  twice.for_each([&](std::uint32_t chunk) { unsettled_.push_back(chunk); });
  partial_chunks_.store(partial_count);
  allocator_.reset(limit, used);
  return Status::ok();
}

Status ImageImpl::recover() {
  auto file_size = storage_.file().size();
  if (!file_size) return file_size.status();
  if (Status s = load_superblock(); !s) {
    if (s.code() != Code::kCorrupt || *file_size >= geometry_.data_offset) return s;
    return {s.code(), "the file ends (" + std::to_string(*file_size) + " bytes) before its data begins (at " +
                          std::to_string(geometry_.data_offset) + "): it was cut short"};
  }
  const std::uint32_t limit = geometry_.chunks_in(*file_size);
  allocator_.reset(limit, Bits());
  if (Status s = geometry_.check_ref(superblock_.table, limit, "the base table"); !s) return s;
  if (Status s = geometry_.check_ref(superblock_.directory, limit, "the snapshot directory"); !s) return s;
  if (Status s = geometry_.check_ref(superblock_.refcounts, limit, "the reference-count table"); !s) return s;

  if (!superblock_.directory.is_none()) {
    auto object =
        read_object(storage_, Structure::kDirectory, geometry_, superblock_.directory, format::kLongestDirectory);
    if (!object) return object.status();
    if (Status s =
            format::check_directory(*object, superblock_.directory, geometry_, limit, superblock_.next_snapshot_id);
        !s) {
      return s;
    }
    directory_.replace(std::make_shared<const SnapshotRecords>(*object));
  }
  const auto records = directory_.records();
  if (superblock_.snapshot_count != records->size()) {
    return {Code::kCorrupt, "the number of snapshots contradicts the snapshot directory; run fvd check"};
  }
  if (superblock_.parent != 0 && !records->find(superblock_.parent)) {
    return {Code::kCorrupt, "the parent of current-state is not in the snapshot directory; run fvd check"};
  }
  if (!superblock_.base_path.empty()) {
    auto base =
        BaseImage::open(superblock_.base_path, superblock_.base_format, storage_.file().path(), superblock_.base_size);
    if (!base && !options_.without_base) return base.status();
    base_ = base ? std::move(*base) : BaseImage::missing(superblock_.base_size, base.status());
  }
  virtual_size_.store(superblock_.virtual_size);
  if (Status s = front_.table.resize(geometry_.virtual_chunks(superblock_.virtual_size)); !s) return s;
  journal_.reserve_for(front_.table.size());
  if (Status s = load_table(superblock_.table, front_, "the base table"); !s) return s;
  if (Status s = replay_journal(); !s) return s;
  was_clean_ = (superblock_.flags & Superblock::kFlagClean) != 0 && position_.offset == 0;
  if (Status s = derive_use(); !s) return s;
  if (!read_only_) {
    // Going on from an older state would make a loss final.
    if (Status s = journal_.check_nothing_lost(position_); !s) return s;
  }
  if (Status s = put_journaled_data_in_place(); !s) return s;
  // What was just read may still be on its way to the disk (a killed daemon's last commit): nothing may build on it
  // before it is there.
  if (!was_clean_ && !read_only_) {
    if (Status s = storage_.sync(); !s) return s;
  }
  closed_ = false;
  return Status::ok();
}

Status ImageImpl::close() try {
  if (closed_) return Status::ok();
  closed_ = true;
  storage_.file().closing();
  {
    const std::lock_guard lock(background_mutex_);
    stop_ = true;
  }
  background_wake_.notify_all();
  const bool in_steps = background_.joinable() && !storage_.file().is_block_device();
  if (background_.joinable()) background_.join();
  if (read_only_) return Status::ok();
  const std::lock_guard operation(operation_);
  if (Status s = check_writable(); !s) return s;
  if (storage_.untouched() && was_clean_ && front_.changes.empty() && !held_.release()) return Status::ok();
  if (Status s = commit_all(); !s) return s;
  const auto free_chunks = [&] { in_steps ? release_freed() : reclaim(); };
  free_chunks();
  if (position_.offset != 0) {
    if (Status s = checkpoint(true); !s) return s;
  } else if ((superblock_.flags & Superblock::kFlagClean) == 0) {
    Superblock next = next_superblock(false);
    next.flags |= Superblock::kFlagClean;
    if (Status s = write_superblock(std::move(next)); !s) return s;
  }
  (void)held_.release();
  if (position_.offset == 0 && !storage_.file().is_block_device()) (void)journal_.shrink(!was_clean_);
  free_chunks();
  // What there is no time for is left to the background of the next open.
  const auto until = std::chrono::steady_clock::now() + kReclaimAtClose;
  const auto in_time = [&](Reclaimer::Clock::duration) { return Reclaimer::Clock::now() < until; };
  const auto give = [&] {
    do {
      if (!reclaimer_.give_some(in_time)) return false;
    } while (reclaimer_.wanted());
    return true;
  };
  if ((in_steps && !give()) || storage_.file().is_block_device()) return Status::ok();
  auto size = storage_.file().size();
  const std::uint64_t end = geometry_.data_offset + (std::uint64_t{allocator_.highest_used()} << geometry_.chunk_log2);
  if (size && *size > end) (void)storage_.file().truncate(end);  // a longer file would do no harm
  return Status::ok();
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

ImageImpl::~ImageImpl() { (void)close(); }

}  // namespace fvd
