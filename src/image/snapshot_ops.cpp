// Snapshot operations. Each writes new objects, syncs, and switches the superblock; until the switch is durable nothing
// has happened, after it everything has.
#include <algorithm>
#include <ctime>
#include <mutex>
#include <new>
#include <shared_mutex>

#include "base/endian.h"
#include "image/image_impl.h"
#include "image/snapshot_view.h"
#include "image/transaction.h"
#include "snapshot/objects.h"
#include "snapshot/refcounts.h"

namespace fvd {

using format::kChunkMask;
using format::ObjectRef;
using format::SnapshotRecord;
using format::Superblock;
using Records = SnapshotDirectory::Records;

namespace {

Status no_such_snapshot(std::string_view name) {
  return {Code::kNotFound, "there is no snapshot \"" + std::string(name) + "\""};
}

}  // namespace

// Replaces the directory and nothing else.
Status ImageImpl::switch_directory(Records records, Room room) {
  if (Status s = begin_change(); !s) return s;
  Transaction transaction(*this, Transaction::Epoch::kSame, room);
  Status s = transaction.write_directory(std::move(records));
  if (s.is_ok()) s = transaction.commit();
  if (s.is_ok()) after_operation();
  return s;
}

// That one more snapshot can be taken into the directory, under this name.
Status ImageImpl::check_new_name(const Records& records, std::string_view name) const {
  if (records.find(name)) {
    return {Code::kExists, "there is a snapshot \"" + std::string(name) + "\" already"};
  }
  const std::lock_guard lock(superblock_mutex_);
  if (records.size() >= kMaxSnapshots || superblock_.next_snapshot_id == 0xFFFFFFFF) {
    return {Code::kTooMany, "an image holds at most 65,535 snapshots; delete some first"};
  }
  return Status::ok();
}

Result<SnapshotId> ImageImpl::snapshot_create(std::string_view name, std::string_view description) try {
  if (Status s = format::check_snapshot_name(name); !s) return s;
  if (description.size() > kMaxDescriptionBytes) return Status(Code::kInvalid, "a description has at most 4,096 bytes");
  const std::lock_guard operation(operation_);
  if (Status s = check_writable(); !s) return s;
  if (Status s = check_new_name(*directory_.records(), name); !s) return s;
  if (Status s = make_room(); !s) return s;
  Result<SnapshotId> id = Status(Code::kBusy, "not taken");
  const Status s = despite_writers([&](Writers writers) {
    id = take_snapshot(name, description, writers);
    return id.status();
  });
  return s.is_ok() ? id : s;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<SnapshotId> ImageImpl::take_snapshot(std::string_view name, std::string_view description, Writers writers) {
  TableCapture capture(geometry_);
  capture.prepare(front_);
  // The cut: from here on every chunk of the front belongs to the snapshot too, and changes are collected for the
  // first batch of the new epoch.
  timespec now{};
  std::unique_lock gate(gate_);
  ::clock_gettime(CLOCK_REALTIME, &now);
  capture.take(front_, true);
  // A chunk may become an origin now, and then nothing puts what the journal has of it into it.
  storage_.only_a_sync_helps();
  if (writers == Writers::kGoOn) gate.unlock();
  capture.finish(virtual_size());

  SnapshotRecord record;
  record.parent = superblock_.parent;
  record.virtual_size = virtual_size();
  record.created_seconds = now.tv_sec;
  record.created_nanoseconds = static_cast<std::uint32_t>(now.tv_nsec);
  record.mapped_bytes = std::uint64_t{capture.mapped()} << geometry_.chunk_log2;
  record.name = name;
  record.description = description;

  const ObjectRef old_refcounts = superblock_.refcounts;
  const Bits reached = reached_by(capture);
  Status s;
  {
    Transaction transaction(*this, Transaction::Epoch::kNew);
    s = transaction.add_snapshot(&record, capture, reached);
    if (s.is_ok()) {
      transaction.next().table = record.table;
      transaction.next().parent = record.id;
      s = transaction.commit();
    }
  }
  if (gate.owns_lock()) gate.unlock();
  front_.changes.end_capture();
  if (!s) {
    // The chunks that no older snapshot holds are the front's own again; when that cannot be told, the next open does.
    if (auto counts = Refcounts::load(storage_, geometry_, old_refcounts, allocator_.chunks_in_file())) {
      Bits own(allocator_.chunks_in_file() + 1);
      reached.for_each([&](std::uint32_t chunk) {
        if (counts->get(chunk) == 0) own.set(chunk);
      });
      settle(std::move(own));
    }
    return s;
  }
  // What current-state names twice is the snapshot's now; it is settled when its last snapshot goes.
  std::erase_if(unsettled_, [&](std::uint32_t chunk) { return reached.test(chunk); });
  after_operation();
  return record.id;
}

Status ImageImpl::snapshot_goto(std::string_view name) try {
  const std::lock_guard operation(operation_);
  if (Status s = check_writable(); !s) return s;
  const std::optional<SnapshotRecord> record = directory_.records()->find(name);
  if (!record) return no_such_snapshot(name);

  // The new mapping, built aside. All of it belongs to the snapshot. Nothing of this needs space.
  Front fresh(geometry_);
  if (Status s = fresh.table.resize(geometry_.virtual_chunks(record->virtual_size)); !s) return s;
  if (Status s = load_table(record->table, fresh, "the table of snapshot " + record->name); !s) return s;
  std::uint64_t partial_count = 0;
  for (Front::Stripe& s : fresh.stripes) partial_count += s.partials.size();
  fresh.share_all();

  const ObjectRef old_table = superblock_.table;
  {
    const std::lock_guard leadership(commits_);
    Superblock next = next_superblock(true);
    next.table = record->table;
    next.parent = record->id;
    next.virtual_size = record->virtual_size;
    const JournalPosition position{next.epoch, next.journal_salt, 0, 1, 0};
    if (Status s = write_superblock(std::move(next)); !s) return s;
    position_ = position;
    journal_has_data_.store(false, std::memory_order_release);
    const std::unique_lock gate(gate_);
    front_.swap_mapping(fresh);
    virtual_size_.store(record->virtual_size, std::memory_order_release);
    partial_chunks_.store(partial_count);
    (void)front_.changes.take();
    quarantine_.freed(quarantine_.take_pending());
  }

  // What was the old front's own is free.
  std::vector<std::uint32_t> freed;
  fresh.table.for_each_entry([&](std::uint32_t, std::uint32_t entry) {
    if (is_own(entry)) freed.push_back(entry & kChunkMask);
  });
  for (Front::Stripe& s : fresh.stripes) {
    s.partials.for_each([&](std::uint32_t, const PartialMap::Entry& partial) {
      if (partial.origin_owned()) freed.push_back(*partial.origin);
    });
  }
  quarantine_.freed(freed);
  if (!object_in_use(Structure::kTable, old_table)) free_object(Structure::kTable, old_table);
  settle(Bits());
  after_operation();
  return Status::ok();
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status ImageImpl::snapshot_rename(std::string_view name, std::string_view new_name) try {
  const std::lock_guard operation(operation_);
  if (Status s = check_writable(); !s) return s;
  Records records = *directory_.records();
  std::optional<SnapshotRecord> record = records.find(name);
  if (!record) return no_such_snapshot(name);
  if (Status s = format::check_snapshot_name(new_name); !s) return s;
  if (name == new_name) return Status::ok();
  if (records.find(new_name)) {
    return {Code::kExists, "there is a snapshot \"" + std::string(new_name) + "\" already"};
  }
  record->name = new_name;
  records.replace(*record);
  return switch_directory(std::move(records));
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status ImageImpl::snapshot_set_description(std::string_view name, std::string_view description) try {
  if (description.size() > kMaxDescriptionBytes) return {Code::kInvalid, "a description has at most 4,096 bytes"};
  const std::lock_guard operation(operation_);
  if (Status s = check_writable(); !s) return s;
  Records records = *directory_.records();
  std::optional<SnapshotRecord> record = records.find(name);
  if (!record) return no_such_snapshot(name);
  if (record->description == description) return Status::ok();
  record->description = description;
  records.replace(*record);
  return switch_directory(std::move(records));
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status ImageImpl::snapshot_set_hold(std::string_view name, bool hold) try {
  const std::lock_guard operation(operation_);
  if (Status s = check_writable(); !s) return s;
  Records records = *directory_.records();
  std::optional<SnapshotRecord> record = records.find(name);
  if (!record) return no_such_snapshot(name);
  const std::uint32_t flags =
      hold ? record->flags | SnapshotRecord::kFlagHold : record->flags & ~SnapshotRecord::kFlagHold;
  if (flags == record->flags) return Status::ok();
  record->flags = flags;
  records.replace(*record);
  return switch_directory(std::move(records), Room::kFreeOrHeld);  // a deletion may wait for it
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

// Every chunk that a state reaches, as data or origin, once.
Bits ImageImpl::reached_by(const TableCapture& capture) const {
  Bits reached(allocator_.chunks_in_file() + 1);
  capture.for_each_reached([&](std::uint32_t chunk) { reached.set(chunk); });
  return reached;
}

Result<Bits> ImageImpl::reached_by(const SnapshotRecord& record) {
  Bits reached(allocator_.chunks_in_file() + 1);
  if (Status s = for_each_reached(record, [&](std::uint32_t chunk) { reached.set(chunk); }); !s) return s;
  return reached;
}

Status ImageImpl::for_each_reached(const SnapshotRecord& record, const std::function<void(std::uint32_t)>& visit) {
  if (record.table.is_none()) return Status::ok();
  auto object = read_object(storage_, Structure::kTable, geometry_, record.table,
                            format::TableHeader::longest(geometry_, record.virtual_size));
  if (!object) return object.status();
  auto table = format::TableView::parse(*object, record.table, geometry_, allocator_.chunks_in_file());
  if (!table)
    return Status(table.code(), "snapshot " + record.name + ": " + table.status().message() + "; run fvd check");
  for (std::uint32_t i = 0; i < table->header().stored_groups; ++i) {
    const std::span<const std::byte> group = table->group(i);
    for (std::size_t at = 0; at < group.size(); at += 4) {
      const auto entry = load_le<std::uint32_t>(group.data() + at);
      if (names_chunk(entry)) visit(entry & kChunkMask);
    }
  }
  for (std::uint32_t i = 0; i < table->header().partial_count; ++i) {
    const std::uint32_t origin = table->partial(i).origin;
    if (names_chunk(origin)) visit(origin);
  }
  return Status::ok();
}

Status ImageImpl::snapshot_delete(std::string_view name) try {
  const std::lock_guard operation(operation_);
  if (Status s = check_writable(); !s) return s;
  Records records = *directory_.records();
  const std::optional<SnapshotRecord> found = records.find(name);
  if (!found) return no_such_snapshot(name);
  const SnapshotRecord& record = *found;
  if ((record.flags & SnapshotRecord::kFlagHold) != 0) {
    return {Code::kBusy, "snapshot \"" + record.name + "\" is held; take the hold off first"};
  }
  if (!directory_.begin_delete(record.id)) {
    return {Code::kBusy, "snapshot \"" + record.name + "\" is open; close its disk.raw, or let its stream end, first"};
  }
  const Status s = delete_record(record, std::move(records));
  directory_.end_delete();
  return s;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status ImageImpl::delete_record(const SnapshotRecord& record, Records records) {
  auto reached = reached_by(record);
  if (!reached) return reached.status();
  // What is held for a deletion may have been found already, or be found below.
  if (Status s = make_room(); !s && s.code() != Code::kNoSpace) return s;
  auto counts = Refcounts::load(storage_, geometry_, superblock_.refcounts, allocator_.chunks_in_file());
  if (!counts) return counts.status();
  Bits unreached(allocator_.chunks_in_file() + 1);
  bool counted = true;
  reached->for_each([&](std::uint32_t chunk) {
    counted = counts->decrement(chunk) && counted;
    if (counts->get(chunk) == 0) unreached.set(chunk);
  });
  if (!counted) return {Code::kCorrupt, "a reference count of the snapshot is too low; run fvd check"};

  records.erase(record.id);
  Transaction transaction(*this, Transaction::Epoch::kSame, Room::kFreeOrHeld);
  const auto write_both = [&]() -> Status {
    Status s = transaction.write_refcounts(*counts);
    if (s.is_ok()) s = transaction.write_directory(records);
    if (!s) transaction.abandon();
    return s;
  };
  Status written = write_both();
  // As much as is needed; where the host's own books take some of it, all there is.
  const std::uint64_t needed = counts_bound() + superblock_.directory.length + 2 * format::kPage;
  bool lent = false;
  for (const std::uint64_t bytes : {needed, header_.journal_half_size}) {
    if (written.code() != Code::kNoSpace || !lend_idle_journal(bytes)) break;
    lent = true;
    (void)reclaimer_.give_all();
    written = write_both();
  }
  if (!written) {
    space_changed();
    return written;
  }
  if (transaction.next().parent == record.id) transaction.next().parent = record.parent;
  // The front's base may be this snapshot's table: then it lives until the next checkpoint.
  transaction.drop(record.table);
  if (Status s = transaction.commit(); !s) return s;
  settle(std::move(unreached));
  if (lent) {
    release_freed();
    (void)reclaimer_.give_all();
    (void)hold_more_space();  // before anybody else has it
  }
  after_operation();
  return Status::ok();
}

class SnapshotReader final : public StateReader {
 public:
  SnapshotReader(ImageImpl& image, const SnapshotRecord& record, std::unique_ptr<SnapshotView> view)
      : image_(image), id_(record.id), size_(record.virtual_size), view_(std::move(view)) {}
  ~SnapshotReader() override { image_.directory_.remove_reader(id_); }
  SnapshotReader(const SnapshotReader&) = delete;
  SnapshotReader& operator=(const SnapshotReader&) = delete;

  [[nodiscard]] std::uint64_t virtual_size() const override { return size_; }
  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) override {
    if (offset >= size_) return std::size_t{0};
    out = out.first(std::min<std::uint64_t>(out.size(), size_ - offset));
    if (Status s = io().read(*view_, offset, out); !s) return s;
    image_.guest_reads_.fetch_add(1, std::memory_order_relaxed);
    image_.guest_read_bytes_.fetch_add(out.size(), std::memory_order_relaxed);
    return out.size();
  }
  Result<Extent> extent(std::uint64_t offset) override { return io().extent(*view_, size_, offset); }

 private:
  StateIo io() { return {image_.storage_, image_.geometry_, image_.base_.get()}; }

  ImageImpl& image_;
  const std::uint32_t id_;
  const std::uint64_t size_;
  const std::unique_ptr<SnapshotView> view_;
};

Result<std::shared_ptr<StateReader>> ImageImpl::open_snapshot(SnapshotId id) {
  const auto record = directory_.add_reader(id);
  if (!record && find_snapshot(id)) return Status(Code::kBusy, "the snapshot is being worked on; try again later");
  if (!record) return Status(Code::kNotFound, "there is no such snapshot");
  auto view = SnapshotView::open(storage_, geometry_, *record, allocator_.chunks_in_file());
  if (!view) {
    directory_.remove_reader(id);
    return view.status();
  }
  return std::shared_ptr<StateReader>(std::make_shared<SnapshotReader>(*this, *record, std::move(*view)));
}

}  // namespace fvd
