#include "image/transaction.h"

#include <algorithm>
#include <mutex>
#include <new>

#include "base/endian.h"
#include "snapshot/objects.h"

namespace fvd {

using format::kPage;
using format::ObjectRef;
using format::SnapshotRecord;

namespace {

constexpr std::uint64_t kPiece = 128 << 10;  // bytes of a directory that are put together at a time

}  // namespace

ImageImpl::Transaction::~Transaction() {
  try {
    abandon();
  } catch (const std::bad_alloc&) {
    (void)image_.out_of_memory();  // the chunks count as in use until the next open
  }
}

Result<ObjectRef> ImageImpl::Transaction::write(Structure what, std::span<const std::byte> object, std::uint32_t crc) {
  auto written = write_object(image_.storage_, what, image_.geometry_, image_.allocator_, object, crc);
  if (!written && written.code() == Code::kNoSpace && room_ == Room::kFreeOrHeld) {
    auto run = image_.held_.lend(what, object.size());
    if (!run) return written;
    if (Status s = image_.storage_.write(what, image_.geometry_.file_offset(run->first), object); !s) {
      (void)image_.held_.take_back(what, *run);
      return s;
    }
    written = ObjectRef{run->first, crc, object.size()};
  }
  if (written) written_.emplace_back(what, *written);
  return written;
}

Result<ObjectRef> ImageImpl::Transaction::write_table(const TableCapture& capture) {
  if (capture.empty()) return ObjectRef{};
  return write(Structure::kTable, capture.object(), capture.crc());
}

Status ImageImpl::Transaction::write_refcounts(Refcounts& counts) {
  next_.refcounts = {};
  std::uint32_t crc = 0;
  const std::span<const std::byte> object = counts.finish(&crc);
  if (object.empty()) return Status::ok();
  auto written = write(Structure::kRefcounts, object, crc);
  if (written) next_.refcounts = *written;
  return written.status();
}

Status ImageImpl::Transaction::write_directory(Records records) {
  next_.directory = {};
  next_.snapshot_count = static_cast<std::uint32_t>(records.size());
  records_ = std::make_shared<const Records>(std::move(records));
  if (records_->empty()) return Status::ok();
  const std::uint64_t length = records_->object_size();
  const ObjectRef& old = image_.superblock_.directory;
  HeldSpace& held = image_.held_;
  // In the place of the last directory but one, where what is held afterwards is enough for the next deletion.
  const auto write_to_held = [&]() -> Status {
    auto run = held.lend(Structure::kDirectory, length);
    if (!run) return run.status();
    Status s = write_directory_to(*run);
    run->directory = nullptr;  // it may hold anything now
    if (!s) (void)held.take_back(Structure::kDirectory, *run);
    return s;
  };
  if (!old.is_none() && held.reserve_behind(Structure::kDirectory, old.first_chunk, old.length, length)) {
    const Status s = write_to_held();
    if (s.code() != Code::kNoSpace) return s;
  }
  const std::uint32_t chunks = image_.geometry_.object_chunks(length);
  const auto place = image_.allocator_.allocate(chunks);
  Status s = place.status();
  if (place) {
    s = write_directory_to({place->first, chunks, length});
    if (!s) image_.allocator_.release(place->first, chunks, false);
  }
  return s.code() == Code::kNoSpace && room_ == Room::kFreeOrHeld ? write_to_held() : s;
}

// What the run is known to hold is not written again.
Status ImageImpl::Transaction::write_directory_to(const HeldSpace::Run& run) {
  const std::uint64_t length = records_->object_size();
  Records::Header header;
  const ObjectRef ref{run.first, records_->seal(&header), length};
  const std::uint64_t same = run.directory ? records_->same_bytes(*run.directory) / kPage * kPage : 0;
  const std::uint64_t at = image_.geometry_.file_offset(run.first);
  // The first page differs always, by the CRC.
  std::vector<std::byte> piece(std::min<std::uint64_t>(length, same > kPage ? kPage : kPiece));
  std::copy(header.begin(), header.end(), piece.begin());
  records_->copy(header.size(), std::span(piece).subspan(header.size()));
  Status s = image_.storage_.write(Structure::kDirectory, at, piece);
  for (std::uint64_t done = std::max<std::uint64_t>(same, piece.size()); s.is_ok() && done < length;) {
    piece.resize(std::min<std::uint64_t>(length - done, kPiece));
    records_->copy(done, piece);
    s = image_.storage_.write(Structure::kDirectory, at + done, piece);
    done += piece.size();
  }
  if (!s) return s;
  next_.directory = ref;
  written_.emplace_back(Structure::kDirectory, ref);
  return s;
}

Status ImageImpl::Transaction::add_snapshot(SnapshotRecord* record, const TableCapture& capture, const Bits& reached) {
  record->id = next_.next_snapshot_id++;
  auto table = write_table(capture);
  if (!table) return table.status();
  record->table = *table;
  auto counts = Refcounts::load(image_.storage_, image_.geometry_, next_.refcounts, image_.allocator_.chunks_in_file());
  if (!counts) return counts.status();
  bool counted = true;
  reached.for_each([&](std::uint32_t chunk) { counted = counts->increment(chunk) && counted; });
  if (!counted) return {Code::kCorrupt, "a reference count is at its end; run fvd check"};
  if (Status s = write_refcounts(*counts); !s) return s;
  Records records = *image_.directory_.records();
  records.push_back(*record);
  return write_directory(std::move(records));
}

void ImageImpl::Transaction::abandon() {
  for (const auto& [what, ref] : std::exchange(written_, {})) {
    // Memory may have run out after the superblock had been written.
    if (!image_.object_in_use(what, ref)) image_.free_object(what, ref);
  }
}

Status ImageImpl::Transaction::commit(Leads leads) {
  const format::Superblock& old = image_.superblock_;
  for (const auto& [what, ref] : {std::pair(Structure::kTable, old.table),
                                  {Structure::kDirectory, old.directory},
                                  {Structure::kRefcounts, old.refcounts}}) {
    replaced_.emplace_back(what, ref);
  }
  if (Status s = switch_superblock(leads); !s) return s;
  const auto old_records = image_.directory_.records();
  if (records_) image_.directory_.replace(std::move(records_));
  written_.clear();
  free_replaced(old_records);
  return Status::ok();
}

Status ImageImpl::Transaction::switch_superblock(Leads leads) {
  if (Status s = image_.storage_.sync(); !s) {
    image_.set_failed(s);
    return s;
  }
  if (epoch_ == Epoch::kSame) return image_.write_superblock(std::move(next_));
  std::unique_lock leadership(image_.commits_, std::defer_lock);
  if (leads == Leads::kNotYet) leadership.lock();
  return image_.switch_epoch(std::move(next_));
}

void ImageImpl::Transaction::free_replaced(const std::shared_ptr<const Records>& old_records) {
  for (auto one = replaced_.begin(); one != replaced_.end(); ++one) {
    const auto& [what, ref] = *one;
    const bool again = std::find(replaced_.begin(), one, *one) != one;  // the base table, as that of a snapshot
    if (again || image_.object_in_use(what, ref)) continue;
    image_.free_object(what, ref, what == Structure::kDirectory ? old_records : nullptr);
  }
}

}  // namespace fvd
