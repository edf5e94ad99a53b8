// Checker: mending. New objects go to chunks that nothing uses, at the end of the file where that can grow; they are
// durable before a new superblock, in the slot that does not hold the chosen one, refers to them. So until that
// superblock is durable nothing has changed, and after it all is mended.
#include <algorithm>

#include "base/endian.h"
#include "check/checker.h"
#include "format/object.h"
#include "format/refcount.h"

namespace fvd {

using format::ObjectRef;
using format::Superblock;

Status Checker::check_writable() const {
  if ((superblock_.ro_compat & ~format::kKnownRoCompat) == 0) return Status::ok();
  return {Code::kUnsupported, "it has features that this version can only read; use a newer one"};
}

// The reference-count object as the tables have it; empty when every count is zero.
std::vector<std::byte> Checker::counted_anew() const {
  std::uint32_t count = limit_ + 1;
  while (count > 1 && use_[count - 1].count == 0) --count;
  if (count == 1) return {};
  const format::RefcountHeader header{count};
  std::vector<std::byte> object(header.length());
  header.encode(object);
  for (std::uint32_t c = 1; c < count; ++c) {
    store_le<std::uint16_t>(object.data() + format::kObjectHeader + std::size_t{c} * 2, use_[c].count);
  }
  format::seal_object(object, format::kRefcountMagic);
  return object;
}

// First of that many consecutive chunks that nothing uses, 0 when there are none.
std::uint32_t Checker::free_run(std::uint32_t chunks) const {
  std::uint32_t free = 0;
  for (std::uint32_t c = 1; c <= limit_; ++c) {
    free = use_[c].is_used() ? 0 : free + 1;
    if (free == chunks) return c - chunks + 1;
  }
  return 0;
}

// Writes a sealed object where nothing is. What the check may have missed is safest behind the end of the file.
Result<ObjectRef> Checker::place(std::span<const std::byte> object) {
  const std::uint32_t chunks = geometry_.object_chunks(object.size());
  std::uint32_t first = 0;
  const std::uint32_t last = limit_ + appended_;
  if (!file_.is_block_device() && chunks <= format::kMaxChunk - last) {
    const std::uint64_t end = geometry_.file_offset(last + chunks) + geometry_.chunk_size();
    if (file_.truncate(end).is_ok()) {
      first = last + 1;
      appended_ += chunks;
    }
  }
  if (first == 0) first = free_run(chunks);
  if (first == 0) return Status(Code::kNoSpace, "image " + file_.path() + " has no room for what would mend it");
  if (Status s = file_.write(geometry_.file_offset(first), object); !s) return s;
  for (std::uint32_t c = first; c < first + chunks && c <= limit_; ++c) use_[c].metadata = true;
  return ObjectRef{first, load_le<std::uint32_t>(object.data() + 16), object.size()};
}

Status Checker::mend(std::vector<std::string>* done) {
  // What was read may still be on its way to the disk: nothing may build on it before it is there.
  if (Status s = file_.sync(); !s) return s;
  Superblock next = superblock_;
  ++next.sequence;
  const bool in_first = superblock_.self_offset == header_.superblock_offset[0];
  next.self_offset = header_.superblock_offset[in_first ? 1 : 0];
  next.snapshot_count = static_cast<std::uint32_t>(records_.size());

  const bool counts = findings_for(Mend::kCounts) != 0;
  const bool directory = findings_for(Mend::kDirectory) != 0;
  if (counts) {
    const std::vector<std::byte> counted = counted_anew();
    replaced_.push_back(next.refcounts);
    next.refcounts = ObjectRef{};
    if (!counted.empty()) {
      auto placed = place(counted);
      if (!placed) return placed.status();
      next.refcounts = *placed;
    }
    done->push_back("the reference counts were counted anew from the lookup tables");
  }
  if (directory) {
    for (format::SnapshotRecord& r : records_) r.mapped_bytes = mapped_bytes_[r.id];
    replaced_.push_back(next.directory);
    auto placed = place(format::encode_directory(records_));
    if (!placed) return placed.status();
    next.directory = *placed;
    done->push_back("the sizes of the snapshots were taken from their lookup tables");
  }
  if (counts || directory) {
    next.flags &= ~Superblock::kFlagClean;  // free chunks may hold storage until they are given back
    if (Status s = file_.sync(); !s) return s;
  }
  SlotPage page;
  next.encode(page);
  if (Status s = file_.write(next.self_offset, page); !s) return s;
  if (Status s = file_.sync(); !s) return s;
  const bool fell_back = older_ || findings_for(Mend::kOlderSuperblock) != 0;
  done->push_back(fell_back ? "superblock " + std::to_string(superblock_.sequence) + " counts again, as superblock " +
                                  std::to_string(next.sequence) + "; what came after it is given up"
                            : "superblock " + std::to_string(next.sequence) + " was written beside superblock " +
                                  std::to_string(superblock_.sequence));
  if (!fell_back) return Status::ok();
  // Nothing of the epoch that was given up may be taken for a sign of something lost.
  if (Status s = file_.zero(half_offset(1 - (superblock_.epoch & 1)), header_.journal_half_size); !s) return s;
  return file_.sync();
}

Status Checker::give_back(const Checker& now) const {
  bool any = false;
  for (const ObjectRef& ref : replaced_) {
    if (ref.is_none() || !geometry_.check_ref(ref, now.limit_, "")) continue;
    for (std::uint32_t c = ref.first_chunk; c < ref.first_chunk + geometry_.object_chunks(ref.length); ++c) {
      if (now.use_ == nullptr || now.use_[c].is_used()) continue;
      any = true;
      if (Status s = file_.zero(geometry_.file_offset(c), geometry_.chunk_size()); !s) return s;
    }
  }
  return any ? file_.sync() : Status::ok();
}

}  // namespace fvd
