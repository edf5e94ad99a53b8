// What FUSE itself costs, to compare fvdfs with: one file of the host shown as a file, plain pread and pwrite, nothing
// else. What the kernel is asked for is as in fvdfs (session.cpp, Filesystem::init, open_current): what differs is what
// an image costs, and that requests are served by libfuse's own loop. A change of the settings there belongs here too.
//
//   fvd_bench_passthrough FILE MOUNTPOINT    MOUNTPOINT is a file; stays in the foreground; SIGTERM ends it
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "fuse/lowlevel.h"
#include "fuse/readahead.h"
#include "fuse/transport.h"

namespace {

constexpr unsigned kThreads = 10;
constexpr std::size_t kMaxRequest = 1U << 20;
constexpr std::uint32_t kReadahead = 1U << 20;
constexpr double kForever = 86400.0;

int g_file = -1;

struct Free {
  void operator()(char* memory) const { std::free(memory); }
};

int result_of(int result) { return result == 0 ? 0 : errno; }

void init(void* /*user_data*/, fuse_conn_info* connection) {
  const auto set = [connection](unsigned capability, bool on) {
    connection->want = on ? connection->want | (connection->capable & capability) : connection->want & ~capability;
  };
  set(FUSE_CAP_AUTO_INVAL_DATA, false);
  set(FUSE_CAP_ATOMIC_O_TRUNC, true);
  set(FUSE_CAP_ASYNC_DIO, true);
  set(FUSE_CAP_ASYNC_READ, true);
  set(FUSE_CAP_PARALLEL_DIROPS, true);
  set(FUSE_CAP_HANDLE_KILLPRIV, true);
  set(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, false);
  set(FUSE_CAP_WRITEBACK_CACHE, false);
  set(FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS, false);
  connection->max_read = 256U << 10;
  connection->max_readahead = kReadahead;
  connection->max_write = kMaxRequest;
  connection->max_background = 64;
  connection->congestion_threshold = 48;
  connection->time_gran = 1;
}

bool attributes(struct stat* out) {
  if (::fstat(g_file, out) != 0) return false;
  out->st_ino = FUSE_ROOT_ID;
  return true;
}

void getattr(fuse_req_t req, fuse_ino_t /*inode*/, fuse_file_info* /*fi*/) {
  struct stat st {};
  if (attributes(&st)) {
    fuse_reply_attr(req, &st, kForever);
  } else {
    fuse_reply_err(req, errno);
  }
}

// Nothing here can be changed; programs that set times or modes in passing are let through.
void setattr(fuse_req_t req, fuse_ino_t inode, struct stat* /*attr*/, int /*to_set*/, fuse_file_info* fi) {
  getattr(req, inode, fi);
}

void open_file(fuse_req_t req, fuse_ino_t /*inode*/, fuse_file_info* fi) {
  fi->keep_cache = 1;
  const bool writer = (fi->flags & O_ACCMODE) != O_RDONLY;
  fi->noflush = writer ? 0 : 1;
  if (writer && (fi->flags & O_DIRECT) != 0 && fvdfs::can_pass_the_page_cache()) {
    (void)fvdfs::reply_open_past_cache(req, *fi);
  } else {
    (void)fuse_reply_open(req, fi);
  }
}

void read_file(fuse_req_t req, fuse_ino_t /*inode*/, size_t size, off_t offset, fuse_file_info* /*fi*/) {
  thread_local const std::unique_ptr<char, Free> buffer(static_cast<char*>(std::aligned_alloc(4096, kMaxRequest)));
  if (buffer == nullptr || size > kMaxRequest) {
    fuse_reply_err(req, ENOMEM);
    return;
  }
  const ssize_t count = ::pread(g_file, buffer.get(), size, offset);
  if (count < 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_buf(req, buffer.get(), static_cast<size_t>(count));
  }
}

void write_file(fuse_req_t req, fuse_ino_t /*inode*/, const char* data, size_t size, off_t offset,
                fuse_file_info* /*fi*/) {
  const ssize_t count = ::pwrite(g_file, data, size, offset);
  if (count < 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_write(req, static_cast<size_t>(count));
  }
}

void fsync_file(fuse_req_t req, fuse_ino_t /*inode*/, int /*datasync*/, fuse_file_info* /*fi*/) {
  fuse_reply_err(req, result_of(::fdatasync(g_file)));
}

void fallocate_file(fuse_req_t req, fuse_ino_t /*inode*/, int mode, off_t offset, off_t length,
                    fuse_file_info* /*fi*/) {
  fuse_reply_err(req, result_of(::fallocate(g_file, mode | FALLOC_FL_KEEP_SIZE, offset, length)));
}

int serve(fuse_session* session, const char* mount_point) {
  if (fuse_set_signal_handlers(session) != 0 || fuse_session_mount(session, mount_point) != 0) return 1;
  (void)fvdfs::install_transport(session);
  (void)fvdfs::set_readahead(mount_point, kReadahead);
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_idle_threads(config, kThreads);
  fuse_loop_cfg_set_max_threads(config, kThreads);
  fuse_loop_cfg_set_clone_fd(config, 0);
  const int result = fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
  fuse_session_unmount(session);
  return result < 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    (void)std::fprintf(stderr, "usage: %s FILE MOUNTPOINT\n", argv[0]);
    return 2;
  }
  g_file = ::open(argv[1], O_RDWR | O_CLOEXEC);
  if (g_file < 0) {
    std::perror(argv[1]);
    return 1;
  }
  fuse_lowlevel_ops operations{};
  operations.init = init;
  operations.getattr = getattr;
  operations.setattr = setattr;
  operations.open = open_file;
  operations.read = read_file;
  operations.write = write_file;
  operations.fsync = fsync_file;
  operations.fallocate = fallocate_file;
  fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&arguments, argv[0]);
  fuse_opt_add_arg(&arguments, "-osubtype=fvd_bench,rw,max_read=262144");
  fuse_session* session = fuse_session_new(&arguments, &operations, sizeof(operations), nullptr);
  const int status = session == nullptr ? 1 : serve(session, argv[2]);
  if (session != nullptr) fuse_session_destroy(session);
  fuse_opt_free_args(&arguments);
  return status;
}
