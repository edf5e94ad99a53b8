// Open files: current-state, each snapshot's disk.raw, and the texts of .fvd.
#include <fcntl.h>
#include <linux/falloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "fuse/errno_map.h"
#include "fuse/filesystem.h"
#include "fuse/read_buffer.h"
#include "fuse/transport.h"

namespace fvdfs {
namespace {

// One copy_file_range request does at most this much, so that none takes long; callers go on from a short count.
constexpr std::uint64_t kMaxCopy = 256U << 20;

bool wants_write(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0; }

// That reads and writes which are not aligned fail is how QEMU finds out that 512 bytes are enough.
bool misaligned(const fuse_file_info* fi, off_t offset, size_t size) {
  return (fi->flags & O_DIRECT) != 0 && ((static_cast<std::uint64_t>(offset) | size) & (fvd::kSectorSize - 1)) != 0;
}

}  // namespace

void Filesystem::reply_open(fuse_req_t req, std::unique_ptr<FileHandle> handle, fuse_file_info* fi) {
  fi->fh = reinterpret_cast<std::uint64_t>(handle.get());
  const bool writer = handle->writer;
  const bool current = handle->node.kind == NodeKind::kCurrent;
  if (current) ++holders_;
  // An open that was interrupted is never released by the kernel.
  if ((handle->direct ? reply_open_past_cache(req, *fi) : fuse_reply_open(req, fi)) == 0) {
    (void)handle.release();
    return;
  }
  if (current) --holders_;
  if (writer) writers_.leave();
}

void Filesystem::open(fuse_req_t req, fuse_ino_t inode, fuse_file_info* fi) {
  const Node node = node_of(inode);
  if (node.kind == NodeKind::kCurrent) {
    open_current(req, fi);
    return;
  }
  if (wants_write(fi->flags)) {
    fuse_reply_err(req, node.kind == NodeKind::kDisk || image_.read_only() ? EROFS : EPERM);
    return;
  }
  auto handle = std::make_unique<FileHandle>();
  handle->node = node;
  fi->noflush = 1;
  if (node.kind == NodeKind::kDisk) {
    auto reader = image_.open_snapshot(node.snapshot);
    if (!reader) {
      fuse_reply_err(req, fail(reader.status(), "open of a snapshot"));
      return;
    }
    handle->snapshot = std::move(*reader);
    handle->state = handle->snapshot.get();
    fi->keep_cache = 1;  // a snapshot never changes
  } else if (node.kind == NodeKind::kTree || node.kind == NodeKind::kInfo || node.kind == NodeKind::kMetrics) {
    handle->text = std::make_shared<const std::string>(dot_fvd_text(node.kind));
    fi->direct_io = 1;  // each open has its own content
  } else if (node.kind == NodeKind::kSend) {
    auto stream = fvd::SendStream::open(image_, node.snapshot, node.since);
    if (!stream) {
      fuse_reply_err(req, fail(stream.status(), "open of a stream"));
      return;
    }
    handle->stream = std::make_shared<StreamHandle>();
    handle->stream->stream = std::move(*stream);
    fi->direct_io = 1;
    fi->nonseekable = 1;
  } else {
    fuse_reply_err(req, ENOENT);
    return;
  }
  reply_open(req, std::move(handle), fi);
}

void Filesystem::open_current(fuse_req_t req, fuse_file_info* fi) {
  const PageCache::OwnOpen own = page_cache_.note_open(fuse_req_ctx(req)->pid);
  const bool writer = own == PageCache::OwnOpen::kNone && wants_write(fi->flags);
  auto handle = std::make_unique<FileHandle>();
  handle->node = {NodeKind::kCurrent, 0};
  handle->state = &image_;
  handle->writer = writer;
  // Several synchronous writers of one file are else let in one at a time, and a write across the end is a failure.
  handle->direct = writer && (fi->flags & O_DIRECT) != 0 && can_pass_the_page_cache();
  // Only this mount changes the data, and goto drops the cache itself. Writers keep the flush at close: it brings what
  // a shared mapping left dirty to the daemon.
  fi->keep_cache = own == PageCache::OwnOpen::kDrop ? 0 : 1;
  fi->noflush = writer ? 0 : 1;
  if (!writer) {
    reply_open(req, std::move(handle), fi);
    return;
  }
  if (image_.read_only()) {
    fuse_reply_err(req, EROFS);
    return;
  }
  if (!writers_.enter()) {
    fuse_reply_err(req, EBUSY);
    return;
  }
  if ((fi->flags & O_TRUNC) == 0) {
    reply_open(req, std::move(handle), fi);
    return;
  }
  if (options_.writeback_cache) {
    // Here and not on the lane: the kernel holds back the inode's lock and its dirty pages until this is answered, and
    // a job of the lane may be waiting for either.
    empty_current(req, std::move(handle), fi);
    // The kernel now believes in a size of 0 and must be told. When it begins to is not certain, so look again.
    tell_size(10);
    return;
  }
  // What others left dirty in the kernel goes first, so that it cannot land on the emptied disk.
  run_on(changes_, req, [this, req, info = *fi, raw = handle.release()]() mutable {
    std::unique_ptr<FileHandle> kept(raw);
    flush_kernel_if_dirty();
    empty_current(req, std::move(kept), &info);
  });
}

// All zeros, every chunk given back, the size stays.
void Filesystem::empty_current(fuse_req_t req, std::unique_ptr<FileHandle> handle, fuse_file_info* fi) {
  attributes_.note_write();
  if (const fvd::Status status = image_.discard(0, image_.virtual_size()); !status) {
    writers_.leave();
    fuse_reply_err(req, fail(status, "emptying current-state"));
    return;
  }
  fi->keep_cache = 0;
  handle->emptied = true;
  reply_open(req, std::move(handle), fi);
}

void Filesystem::tell_size(int looks) {
  int before = looks_;
  // Where a job is under way, one of its looks may be just over: at least one more must follow.
  while (!looks_.compare_exchange_weak(before, before > 0 ? std::max({before, looks, 2}) : looks)) {
  }
  if (before > 0) return;
  notices_.run([this] {
    constexpr int kLongestPause = 6;
    for (int pause = 0, left = looks_;;) {
      page_cache_.set_size(image_.virtual_size());
      const int now_left = looks_.fetch_sub(1) - 1;
      if (now_left == 0) return;
      pause = now_left < left ? std::min(pause + 1, kLongestPause) : 0;
      left = now_left;
      std::this_thread::sleep_for(std::chrono::milliseconds(1 << pause));
    }
  });
}

void Filesystem::release(fuse_req_t req, fuse_ino_t /*inode*/, fuse_file_info* fi) {
  const std::unique_ptr<FileHandle> handle(&file_handle(fi));
  const bool shared = handle->node.kind == NodeKind::kCurrent && holders_.fetch_sub(1) > 1;
  if (handle->writer) writers_.leave();
  // An emptying open made the kernel believe in a size of 0 until somebody asks, which those who have the disk mapped
  // never do: their next access would be a SIGBUS.
  if (handle->emptied && shared && !options_.writeback_cache) {
    notices_.run([this] { page_cache_.refresh_attributes(); });
  }
  fuse_reply_err(req, 0);
}

void Filesystem::read(fuse_req_t req, fuse_ino_t /*inode*/, size_t size, off_t offset, fuse_file_info* fi) {
  const FileHandle& handle = file_handle(fi);
  if (handle.stream) {
    read_stream(req, handle.stream, size, offset);
    return;
  }
  if (handle.state == nullptr) {
    const std::shared_ptr<const std::string> text = handle.text;
    const std::size_t start = std::min(static_cast<std::size_t>(offset), text->size());
    fuse_reply_buf(req, text->data() + start, std::min(size, text->size() - start));
    return;
  }
  if (misaligned(fi, offset, size)) {
    fuse_reply_err(req, EINVAL);
    return;
  }
  const ReadBuffer buffer(size);
  const auto count = handle.state->read(static_cast<std::uint64_t>(offset), buffer.bytes());
  if (!count) {
    fuse_reply_err(req, fail(count.status(), "read"));
    return;
  }
  fuse_reply_buf(req, reinterpret_cast<const char*>(buffer.bytes().data()), *count);
}

void Filesystem::read_stream(fuse_req_t req, const std::shared_ptr<StreamHandle>& handle, size_t size, off_t offset) {
  // Once the caller has the reply it may close: the handle that keeps the stream may be gone then.
  const std::shared_ptr<StreamHandle> kept = handle;
  const ReadBuffer buffer(size);
  fvd::Result<std::size_t> count = std::size_t{0};
  {
    const std::lock_guard lock(kept->mutex);
    if (static_cast<std::uint64_t>(offset) != kept->position) {
      fuse_reply_err(req, ESPIPE);
      return;
    }
    count = kept->stream->read(buffer.bytes());
    if (count) kept->position += *count;
  }
  if (!count) {
    fuse_reply_err(req, fail(count.status(), "reading a stream"));
    return;
  }
  fuse_reply_buf(req, reinterpret_cast<const char*>(buffer.bytes().data()), *count);
}

void Filesystem::write(fuse_req_t req, fuse_ino_t inode, const char* data, size_t size, off_t offset,
                       fuse_file_info* fi) {
  if (inode != kCurrentInode) {
    fuse_reply_err(req, EROFS);
    return;
  }
  // The kernel's own writing of cached pages names some descriptor of the file, not necessarily an O_DIRECT one's
  // writer.
  if (fi->writepage == 0 && misaligned(fi, offset, size)) {
    fuse_reply_err(req, EINVAL);
    return;
  }
  const auto start = static_cast<std::uint64_t>(offset);
  const auto count = image_.write(start, {reinterpret_cast<const std::byte*>(data), size});
  attributes_.note_write();
  // With the writeback cache the kernel grows the file in its own eyes before it asks, so it must be told.
  if (fi->writepage != 0 && start + size > image_.virtual_size()) tell_size(1);
  if (!count) {
    fuse_reply_err(req, fail(count.status(), "write"));
    return;
  }
  note_that_it_worked();
  fuse_reply_write(req, *count);
}

void Filesystem::fsync(fuse_req_t req, fuse_ino_t inode, int /*datasync*/, fuse_file_info* /*fi*/) {
  // Snapshots are on stable storage already, and so is everything on a mount that never wrote.
  if (inode != kCurrentInode || (image_.read_only() && image_.info().error.empty())) {
    fuse_reply_err(req, 0);
    return;
  }
  reply_status(req, image_.flush(), "fsync");
}

int Filesystem::resize(std::uint64_t size, const fuse_file_info* fi) {
  const std::uint64_t old_size = image_.virtual_size();
  if (size == old_size) return 0;
  if (size > old_size) {
    const fvd::Status status = image_.resize(size, false);
    if (!status) return fail(status, "resize");
    attributes_.note_write();
    return 0;
  }
  if (!options_.allow_shrink) return EPERM;
  // ftruncate needs a descriptor open for writing, which is the caller's own affair; any other one is somebody's disk.
  const std::uint32_t own = fi != nullptr && file_handle(fi).writer ? 1 : 0;
  if (!writers_.begin_exclusive(own)) return EBUSY;
  const ExclusiveScope scope(writers_);
  const fvd::Status status = image_.resize(size, true);
  if (!status) return fail(status, "resize");
  attributes_.note_write();
  return 0;
}

void Filesystem::fallocate(fuse_req_t req, fuse_ino_t inode, int mode, off_t offset, off_t length,
                           fuse_file_info* /*fi*/) {
  if (inode != kCurrentInode) {
    fuse_reply_err(req, EROFS);
    return;
  }
  const auto start = static_cast<std::uint64_t>(offset);
  const auto count = static_cast<std::uint64_t>(length);
  const std::uint64_t size = image_.virtual_size();
  const bool zero =
      mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) || (mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE;
  if (!zero && (mode & ~FALLOC_FL_KEEP_SIZE) != 0) {
    fuse_reply_err(req, EOPNOTSUPP);
    return;
  }
  if (image_.read_only()) {
    fuse_reply_err(req, EROFS);
    return;
  }
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && (start > size || count > size - start)) {
    fuse_reply_err(req, ENOSPC);  // a disk does not grow by writing
    return;
  }
  if (start >= size) {
    fuse_reply_err(req, 0);
    return;
  }
  const std::uint64_t inside = std::min(count, size - start);
  const fvd::Status status = zero ? image_.discard(start, inside) : image_.preallocate(start, inside);
  if (zero) attributes_.note_write();
  reply_status(req, status, "fallocate");
}

void Filesystem::lseek(fuse_req_t req, fuse_ino_t /*inode*/, off_t offset, int whence, fuse_file_info* fi) {
  fvd::StateReader* state = file_handle(fi).state;
  if (state == nullptr || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
    fuse_reply_err(req, EINVAL);
    return;
  }
  const auto answer = [this, req, state, start = static_cast<std::uint64_t>(offset), whence] {
    const auto found = whence == SEEK_DATA ? state->seek_data(start) : state->seek_hole(start);
    if (!found) {
      fuse_reply_err(req, found.code() == fvd::Code::kNotFound ? ENXIO : fail(found.status(), "lseek"));
      return;
    }
    fuse_reply_lseek(req, static_cast<off_t>(*found));
  };
  if (state != &image_ || !writers_.may_be_dirty()) {
    answer();
    return;
  }
  // What the kernel still holds dirty is data too: a copy would else have holes in its place.
  run_on(seeks_, req, [this, answer] {
    flush_kernel_if_dirty();
    answer();
  });
}

void Filesystem::copy_file_range(fuse_req_t req, fuse_ino_t in, off_t offset_in, fuse_file_info* /*fi_in*/,
                                 fuse_ino_t out, off_t offset_out, fuse_file_info* /*fi_out*/, size_t length,
                                 int flags) {
  const Node source = node_of(in);
  const bool disk = source.kind == NodeKind::kCurrent || source.kind == NodeKind::kDisk;
  if (!disk || out != kCurrentInode || flags != 0) {
    fuse_reply_err(req, EOPNOTSUPP);  // callers then read and write
    return;
  }
  if (static_cast<std::uint64_t>(offset_out) >= image_.virtual_size()) {
    fuse_reply_err(req, ENOSPC);
    return;
  }
  const auto count =
      image_.copy_range(source.snapshot, static_cast<std::uint64_t>(offset_in), static_cast<std::uint64_t>(offset_out),
                        std::min<std::uint64_t>(length, kMaxCopy));
  attributes_.note_write();
  if (!count) {
    fuse_reply_err(req, fail(count.status(), "copy_file_range"));
    return;
  }
  fuse_reply_write(req, static_cast<std::size_t>(*count));
}

// The kernel passes on what it does not know, for example the questions that QEMU asks of a disk device.
void Filesystem::ioctl(fuse_req_t req, fuse_ino_t /*inode*/, unsigned int /*command*/, void* /*argument*/,
                       fuse_file_info* /*fi*/, unsigned /*flags*/, const void* /*in*/, size_t /*in_size*/,
                       size_t /*out_size*/) {
  fuse_reply_err(req, ENOTTY);
}

}  // namespace fvdfs
