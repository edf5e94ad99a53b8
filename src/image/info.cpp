// What an image tells about itself.
#include <algorithm>

#include "image/image_impl.h"
#include "snapshot/refcounts.h"

namespace fvd {

using format::kChunkMask;

namespace {

// Beyond this many chunks user.fvd.exclusive counts whole chunks instead of asking the host about each.
constexpr std::uint32_t kMeasuredChunks = 1 << 16;

}  // namespace

SnapshotInfo ImageImpl::describe(const format::SnapshotRecord& record, std::uint64_t host_allocated) {
  SnapshotInfo info;
  info.id = record.id;
  info.parent = record.parent;
  info.name = record.name;
  info.description = record.description;
  info.created_seconds = record.created_seconds;
  info.created_nanoseconds = record.created_nanoseconds;
  info.virtual_size = record.virtual_size;
  info.allocated = std::min(record.mapped_bytes, host_allocated);
  info.held = (record.flags & format::SnapshotRecord::kFlagHold) != 0;
  return info;
}

std::uint64_t ImageImpl::host_allocated() const {
  const auto host = storage_.file().allocated();
  return host ? *host : ~std::uint64_t{0};
}

std::vector<SnapshotInfo> ImageImpl::snapshots() const {
  const auto records = directory_.records();
  std::vector<SnapshotInfo> all;
  all.reserve(records->size());
  const std::uint64_t host = host_allocated();
  for (const format::SnapshotRecord& r : *records) all.push_back(describe(r, host));
  return all;
}

std::optional<SnapshotInfo> ImageImpl::find_snapshot(std::string_view name) const {
  const auto record = directory_.records()->find(name);
  if (!record) return std::nullopt;
  return describe(*record, host_allocated());
}

std::optional<SnapshotInfo> ImageImpl::find_snapshot(SnapshotId id) const {
  const auto record = directory_.records()->find(id);
  if (!record) return std::nullopt;
  return describe(*record, host_allocated());
}

SnapshotId ImageImpl::current_parent() const {
  const std::lock_guard lock(superblock_mutex_);
  return superblock_.parent;
}

std::uint64_t ImageImpl::allocated() const {
  const std::uint64_t mapped = std::uint64_t{front_.mapped.load(std::memory_order_relaxed)} << geometry_.chunk_log2;
  return std::min(mapped, host_allocated());
}

std::vector<Result<std::uint64_t>> ImageImpl::snapshots_exclusive(std::span<const SnapshotId> ids) {
  const std::lock_guard operation(operation_);
  auto sole = in_one_snapshot_only();
  if (!sole) return std::vector<Result<std::uint64_t>>(ids.size(), Result<std::uint64_t>(sole.status()));
  std::vector<Result<std::uint64_t>> all;
  all.reserve(ids.size());
  for (const SnapshotId id : ids) all.push_back(take_exclusive(id, &*sole));
  return all;
}

Result<Bits> ImageImpl::in_one_snapshot_only() {
  const std::uint32_t limit = allocator_.chunks_in_file();
  auto counts = Refcounts::load(storage_, geometry_, superblock_.refcounts, limit);
  if (!counts) return counts.status();
  Bits sole(limit + 1);
  for (std::uint32_t chunk = 1; chunk <= limit; ++chunk)
    if (counts->get(chunk) == 1) sole.set(chunk);
  // What the front names stays when the snapshot goes.
  front_.table.for_each_entry([&](std::uint32_t, std::uint32_t entry) {
    if (names_chunk(entry)) sole.clear(entry & kChunkMask);
  });
  for (Front::Stripe& s : front_.stripes) {
    const std::lock_guard stripe(s.mutex);
    s.partials.for_each([&](std::uint32_t, const PartialMap::Entry& partial) {
      if (names_chunk(*partial.origin)) sole.clear(*partial.origin);
    });
  }
  return sole;
}

// Bytes of what is in *sole and in the snapshot, which is taken out of it: no other one reaches it.
Result<std::uint64_t> ImageImpl::take_exclusive(SnapshotId id, Bits* sole) {
  const auto record = directory_.records()->find(id);
  if (!record) return Status(Code::kNotFound, "there is no such snapshot");
  std::uint32_t chunks = 0;
  std::uint64_t bytes = 0;
  Status failed;
  const auto count = [&](std::uint32_t chunk) {
    if (!sole->test(chunk)) return;
    sole->clear(chunk);
    if (++chunks > kMeasuredChunks || !failed.is_ok()) return;
    const std::uint64_t end = geometry_.file_offset(chunk) + geometry_.chunk_size();
    for (std::uint64_t at = geometry_.file_offset(chunk); at < end;) {
      const auto data = storage_.file().seek_data(at, end);
      const auto hole = data ? storage_.file().seek_hole(*data, end) : data;
      if (!hole) {
        failed = hole.status();
        return;
      }
      bytes += *hole - *data;
      at = std::max(*hole, at + 1);
    }
  };
  if (Status s = for_each_reached(*record, count); !s) return s;
  if (!failed.is_ok()) return failed;
  if (chunks > kMeasuredChunks) bytes = std::uint64_t{chunks} << geometry_.chunk_log2;
  return bytes;
}

ImageInfo ImageImpl::info() const {
  ImageInfo info;
  info.path = storage_.file().path();
  info.uuid = format::uuid_text(header_.uuid);
  info.chunk_size = geometry_.chunk_size();
  info.block_size = geometry_.block_size();
  info.virtual_size = virtual_size();
  info.allocated = allocated();
  info.file_size = storage_.file().size() ? *storage_.file().size() : 0;
  info.host_allocated = storage_.file().allocated() ? *storage_.file().allocated() : 0;
  info.chunks_total = allocator_.chunks_in_file();
  info.chunks_used = allocator_.used() - held_.chunks();
  info.partial_chunks = partial_chunks_.load();
  info.journal_size = 2 * header_.journal_half_size;
  info.was_clean = was_clean_;
  info.read_only = read_only();
  info.is_block_device = storage_.file().is_block_device();
  const std::lock_guard lock(superblock_mutex_);
  info.parent = superblock_.parent;
  info.error = failure_;
  info.features = superblock_.feature_names();
  info.base_path = superblock_.base_path;
  info.base_format = superblock_.base_format;
  info.base_size = superblock_.base_size;
  if (options_.without_base && base_ != nullptr) info.base_error = base_->why_missing().message();
  return info;
}

std::vector<Metric> ImageImpl::metrics() const {
  std::vector<Metric> all;
  const auto counter = [&](const char* name, const char* help, std::uint64_t value, std::string labels = {}) {
    all.push_back({name, help, std::move(labels), true, value});
  };
  const auto gauge = [&](const char* name, const char* help, std::uint64_t value) {
    all.push_back({name, help, {}, false, value});
  };
  for (std::size_t i = 0; i < kStructureNames.size(); ++i) {
    counter("fvd_read_bytes_total", "Bytes read from the image, by structure.",
            storage_.bytes_read(static_cast<Structure>(i)), std::string("structure=\"") + kStructureNames[i] + "\"");
  }
  for (std::size_t i = 0; i < kStructureNames.size(); ++i) {
    counter("fvd_write_bytes_total", "Bytes written to the image, by structure.",
            storage_.bytes_written(static_cast<Structure>(i)), std::string("structure=\"") + kStructureNames[i] + "\"");
  }
  counter("fvd_zero_bytes_total", "Bytes of the image zeroed, or given back to the host.", storage_.bytes_zeroed());
  counter("fvd_syncs_total", "Syncs of the image (fdatasync).", storage_.syncs());
  counter("fvd_guest_reads_total", "Reads served, of any state.", guest_reads_.load());
  counter("fvd_guest_read_bytes_total", "Bytes of them.", guest_read_bytes_.load());
  counter("fvd_guest_writes_total", "Writes to current-state served.", guest_writes_.load());
  counter("fvd_guest_write_bytes_total", "Bytes of them.", guest_write_bytes_.load());
  counter("fvd_guest_flushes_total", "Flushes (fsync, fdatasync) of current-state served.", guest_flushes_.load());
  counter("fvd_guest_discard_bytes_total", "Bytes of current-state asked to be discarded or zeroed.",
          guest_discard_bytes_.load());
  counter("fvd_commits_total", "Commits: syncs of data, with a journal batch where the mapping had changed.",
          commits_count_.load());
  counter("fvd_journal_commits_total", "Of them, those that put the data into the journal too, by one write.",
          journaled_commits_.load());
  counter("fvd_checkpoints_total", "Checkpoints: base tables of current-state written.", checkpoints_.load());
  counter("fvd_copied_bytes_total", "Bytes copied from origins to complete blocks and chunks.", copied_bytes_.load());
  counter("fvd_completed_chunks_total", "Partial chunks completed in the background.", completed_chunks_.load());
  gauge("fvd_virtual_size_bytes", "Virtual size of current-state.", virtual_size());
  gauge("fvd_allocated_bytes", "Bytes that current-state reaches.", allocated());
  gauge("fvd_snapshots", "Snapshots in the image.", directory_.records()->size());
  gauge("fvd_chunks", "Physical chunks that the image file has room for.", allocator_.chunks_in_file());
  const std::uint32_t held = held_.chunks();
  gauge("fvd_chunks_used", "Physical chunks in use.", allocator_.used() - held);
  gauge("fvd_chunks_held", "Free physical chunks held for what must be written on a full disk.", held);
  gauge("fvd_partial_chunks", "Partial chunks of current-state.", partial_chunks_.load());
  gauge("fvd_read_only", "1 when the image is open read-only or turned read-only after a failure.",
        read_only() ? 1 : 0);
  return all;
}

}  // namespace fvd
