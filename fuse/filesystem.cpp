#include "fuse/filesystem.h"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <new>
#include <utility>

#include "fuse/errno_map.h"
#include "fuse/workers.h"

namespace fvdfs {
namespace {

// Adapts a method to libfuse's table. No exception may pass through C: running out of memory fails that one request,
// which is safe because every method allocates before it replies.
template <auto Method>
struct Adapter;
template <typename... Arguments, void (Filesystem::*Method)(fuse_req_t, Arguments...)>
struct Adapter<Method> {
  static void call(fuse_req_t req, Arguments... arguments) {
    auto* filesystem = static_cast<Filesystem*>(fuse_req_userdata(req));
    try {
      (filesystem->*Method)(req, arguments...);
    } catch (const std::bad_alloc&) {
      fuse_reply_err(req, ENOMEM);
    }
  }
};

void call_init(void* user_data, fuse_conn_info* connection) { static_cast<Filesystem*>(user_data)->init(connection); }

fuse_lowlevel_ops make_operations() {
  // Not there on purpose: getlk, setlk and flock (the kernel's own locks are right for one mount and go away with their
  // owner), flush (nothing is held back per handle), forget (inode numbers need no table), readdirplus, bmap, poll.
  fuse_lowlevel_ops ops{};
  ops.init = call_init;
  ops.lookup = Adapter<&Filesystem::lookup>::call;
  ops.getattr = Adapter<&Filesystem::getattr>::call;
  ops.setattr = Adapter<&Filesystem::setattr>::call;
  ops.readlink = Adapter<&Filesystem::readlink>::call;
  ops.opendir = Adapter<&Filesystem::opendir>::call;
  ops.readdir = Adapter<&Filesystem::readdir>::call;
  ops.releasedir = Adapter<&Filesystem::releasedir>::call;
  ops.fsyncdir = Adapter<&Filesystem::fsyncdir>::call;
  ops.statfs = Adapter<&Filesystem::statfs>::call;
  ops.open = Adapter<&Filesystem::open>::call;
  ops.release = Adapter<&Filesystem::release>::call;
  ops.read = Adapter<&Filesystem::read>::call;
  ops.write = Adapter<&Filesystem::write>::call;
  ops.fsync = Adapter<&Filesystem::fsync>::call;
  ops.fallocate = Adapter<&Filesystem::fallocate>::call;
  ops.lseek = Adapter<&Filesystem::lseek>::call;
  ops.ioctl = Adapter<&Filesystem::ioctl>::call;
  ops.mkdir = Adapter<&Filesystem::mkdir>::call;
  ops.rmdir = Adapter<&Filesystem::rmdir>::call;
  ops.rename = Adapter<&Filesystem::rename>::call;
  ops.unlink = Adapter<&Filesystem::unlink>::call;
  ops.mknod = Adapter<&Filesystem::mknod>::call;
  ops.link = Adapter<&Filesystem::link>::call;
  ops.create = Adapter<&Filesystem::create>::call;
  ops.getxattr = Adapter<&Filesystem::getxattr>::call;
  ops.listxattr = Adapter<&Filesystem::listxattr>::call;
  ops.setxattr = Adapter<&Filesystem::setxattr>::call;
  ops.removexattr = Adapter<&Filesystem::removexattr>::call;
  ops.symlink = Adapter<&Filesystem::symlink>::call;
  ops.copy_file_range = Adapter<&Filesystem::copy_file_range>::call;
  return ops;
}

}  // namespace

const fuse_lowlevel_ops& Filesystem::operations() {
  static const fuse_lowlevel_ops ops = make_operations();
  return ops;
}

Filesystem::Filesystem(fvd::Image& image, const FilesystemOptions& options)
    : image_(image), options_(options), attributes_(image, options.owner, options.modified) {}

void Filesystem::start(fuse_session* session, const std::string& mount_point) {
  page_cache_.attach(session, mount_point);
  changes_.start();
  notices_.start();
  seeks_.start();
}

void Filesystem::run_on(Lane& lane, fuse_req_t req, std::function<void()> job) {
  lane.run([req, work = std::move(job)] {
    try {
      work();
    } catch (const std::bad_alloc&) {
      fuse_reply_err(req, ENOMEM);  // as Adapter does
    }
  });
}

void Filesystem::stop() {
  changes_.stop();
  notices_.stop();
  seeks_.stop();
}

void Filesystem::flush_kernel() {
  if (image_.read_only()) return;
  flush_kernel_if_dirty();
}

void Filesystem::init(fuse_conn_info* connection) {
  const auto set = [connection](unsigned capability, bool on) {
    connection->want = on ? connection->want | (connection->capable & capability) : connection->want & ~capability;
  };
  // A changing mtime would empty the page cache on every write; nobody else changes the data, and goto invalidates it.
  set(FUSE_CAP_AUTO_INVAL_DATA, false);
  // open() honours O_TRUNC; without this the kernel would send a truncation to 0, which a disk refuses.
  set(FUSE_CAP_ATOMIC_O_TRUNC, true);
  // Several O_DIRECT requests of one aio context may be under way at once: half to two thirds of deep-queue speed.
  set(FUSE_CAP_ASYNC_DIO, true);
  set(FUSE_CAP_ASYNC_READ, true);
  set(FUSE_CAP_PARALLEL_DIROPS, true);
  // Regular files never carry setuid or setgid here (setattr drops the bits), so there is nothing to clear on a write.
  set(FUSE_CAP_HANDLE_KILLPRIV, true);
  // A pread into an aligned buffer was measured faster than splicing from the image.
  set(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, false);
  // Off unless asked for: what the kernel holds back is lost with the daemon.
  set(FUSE_CAP_WRITEBACK_CACHE, options_.writeback_cache);
  // The kernel's own locks: they work between the processes of this host and never outlive their owner.
  set(FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS, false);
  connection->max_read = options_.max_read;
  connection->max_readahead = options_.max_readahead;  // the kernel takes what is less, this or what sysfs says now
  connection->max_write = kMaxWrite;
  connection->max_background = 64;
  connection->congestion_threshold = 48;
  connection->time_gran = 1;
  if (ready_) ready_();
}

int Filesystem::fail(const fvd::Status& status, const char* what) const {
  const int error = errno_of(status.code());
  // What a caller did wrong is the caller's to report; the log is for what went wrong here.
  if (error == EIO || (error == ENOSPC && status.system_error() != 0)) {
    FailureLog& log = error == EIO ? storage_failed_ : no_space_;
    const auto line = log.failed(std::string(what) + ": " + status.message(), FailureLog::Clock::now());
    if (line) spdlog::warn("{}", *line);
  } else {
    spdlog::debug("{}: {}", what, status.message());
  }
  return error;
}

void Filesystem::note_that_it_worked() {
  for (FailureLog* log : {&no_space_, &storage_failed_}) {
    if (!log->is_open()) continue;
    if (const auto line = log->worked(FailureLog::Clock::now())) spdlog::warn("{}", *line);
  }
}

void Filesystem::reply_status(fuse_req_t req, const fvd::Status& status, const char* what) {
  if (status) note_that_it_worked();
  fuse_reply_err(req, status ? 0 : fail(status, what));
}

void Filesystem::reply_refusal(fuse_req_t req) { fuse_reply_err(req, image_.read_only() ? EROFS : EPERM); }

void Filesystem::flush_kernel_if_dirty() {
  if (!writers_.may_be_dirty()) return;
  const std::uint64_t ticket = writers_.flush_ticket();
  page_cache_.flush();
  writers_.flushed(ticket);
}

}  // namespace fvdfs
