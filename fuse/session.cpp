#include "fuse/session.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>

#include "fuse/filesystem.h"
#include "fuse/log.h"
#include "fuse/lowlevel.h"
#include "fuse/readahead.h"
#include "fuse/stopper.h"
#include "fuse/transport.h"
#include "fuse/workers.h"
#include "fvd/image.h"

namespace fvdfs {
namespace {

int fail(const std::string& line) {
  (void)std::fprintf(stderr, "fvdfs: %s\n", line.c_str());
  return 1;
}

std::string errno_text() { return std::generic_category().message(errno); }

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

bool kernel_checks_permissions(const Options& options) { return options.allow_other || options.default_permissions; }

FilesystemOptions filesystem_options(const Options& options, int image_fd) {
  FilesystemOptions fs;
  fs.allow_shrink = options.shrink;
  fs.writeback_cache = options.writeback_cache;
  fs.max_read = options.max_read;
  fs.max_readahead = options.max_readahead;
  fs.image_fd = image_fd;
  fs.owner.uid = options.uid.value_or(::getuid());
  fs.owner.gid = options.gid.value_or(::getgid());
  struct statx stx {};
  if (image_fd >= 0 && ::statx(image_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &stx) == 0) {
    fs.modified = {stx.stx_mtime.tv_sec, stx.stx_mtime.tv_nsec};
    const bool has_birth = (stx.stx_mask & STATX_BTIME) != 0;
    fs.created = has_birth ? timespec{stx.stx_btime.tv_sec, stx.stx_btime.tv_nsec} : fs.modified;
    // Who may read and write the image file may read and write the disk in it.
    fs.owner.disk_mode = stx.stx_mode & 0666U;
  }
  if (options.umask) {
    fs.owner.disk_mode = 0666U & ~*options.umask;
    fs.owner.directory_mode = 0777U & ~*options.umask;
  }
  if (kernel_checks_permissions(options)) fs.owner.snapshot_mask = 0666;
  return fs;
}

struct FreeArguments {
  void operator()(fuse_args* arguments) const {
    fuse_opt_free_args(arguments);
    delete arguments;
  }
};
using Arguments = std::unique_ptr<fuse_args, FreeArguments>;

Arguments session_arguments(const Options& options) {
  Arguments arguments(new fuse_args FUSE_ARGS_INIT(0, nullptr));
  std::string list;
  const auto add = [&list](const char* name, const std::string& value) {
    list += name;
    for (const char c : value) {
      if (c == ',' || c == '\\') list += '\\';
      list += c;
    }
  };
  add("subtype=", options.subtype);
  add(",fsname=", options.fsname.empty() ? options.image : options.fsname);
  add(",max_read=", std::to_string(options.max_read));
  list += options.read_only ? ",ro" : ",rw";
  if (options.allow_other) list += ",allow_other";
  if (kernel_checks_permissions(options)) list += ",default_permissions";
  for (const std::string& option : options.mount_options) list += "," + option;
  fuse_opt_add_arg(arguments.get(), "fvdfs");
  if (options.debug) fuse_opt_add_arg(arguments.get(), "-d");
  fuse_opt_add_arg(arguments.get(), "-o");
  fuse_opt_add_arg(arguments.get(), list.c_str());
  return arguments;
}

// Mounts, and returns what went wrong in one line. fusermount3 writes to standard error by itself, so that is caught.
std::string mount_session(fuse_session* session, const Options& options) {
  (void)take_libfuse_complaint();
  const Descriptor caught(::memfd_create("fvdfs-stderr", MFD_CLOEXEC));
  const Descriptor saved(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3));
  const bool redirected =
      caught.get() >= 0 && saved.get() >= 0 && !options.debug && ::dup2(caught.get(), STDERR_FILENO) >= 0;
  const int result = fuse_session_mount(session, options.mount_point.c_str());
  if (redirected) (void)::dup2(saved.get(), STDERR_FILENO);
  if (result == 0) return {};
  std::string why = take_libfuse_complaint();
  std::string text(4096, '\0');
  const ssize_t count = redirected ? ::pread(caught.get(), text.data(), text.size(), 0) : 0;
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  text = text.substr(0, text.find('\n'));
  if (!text.empty()) why = text;
  if (why.empty()) why = "the kernel refuses; is the fuse module loaded and /dev/fuse accessible?";
  struct statfs there {};
  if (::statfs(options.mount_point.c_str(), &there) == 0 && there.f_type == FUSE_SUPER_MAGIC) {
    why += "; something is mounted there already: fusermount3 -u ends that";
  }
  return "cannot mount " + options.image + " at " + options.mount_point + ": " + why;
}

struct DestroySession {
  void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};

int serve(fuse_session* session, Filesystem& filesystem, const Options& options) {
  const Stopper stopper(session, options.mount_point, [&filesystem] { filesystem.flush_kernel(); });
  return serve_requests(session);
}

}  // namespace

int run_session(const Options& asked, Daemon& daemon) {
  Options options = asked;
  // Signals that end the mount are taken by one thread (stopper.h); every thread made from here on inherits the mask.
  Stopper::block_signals();
  (void)std::signal(SIGPIPE, SIG_IGN);
  (void)std::signal(SIGXFSZ, SIG_IGN);  // the image meets a file size limit: a failed write, not the end of the daemon

  fvd::OpenOptions open_options;
  open_options.read_only = options.read_only;
  open_options.force_share = options.force_share;
  open_options.on_failure = [&options](const fvd::Status& why) {
    spdlog::error("{} is read-only from now on: {}; unmount and mount it again", options.image, why.message());
  };
  auto opened = fvd::Image::open(options.image, open_options);
  if (opened.code() == fvd::Code::kReadOnly && opened.status().system_error() == 0) {
    // An image of version 1 (a host that cannot be written to has its own errno): whoever does not say -r gets what
    // there is of it, and is told.
    const std::string why = opened.status().message();
    open_options.read_only = options.read_only = true;
    opened = fvd::Image::open(options.image, open_options);
    if (opened) {
      // In the foreground the log is what the caller sees.
      if (!options.foreground) (void)std::fprintf(stderr, "fvdfs: mounted read-only: %s\n", why.c_str());
      spdlog::warn("mounted read-only: {}", why);
    }
  }
  if (!opened) {
    const int error = opened.status().system_error();
    const bool only_readable =
        !options.read_only && (error == EROFS || error == EACCES) && ::access(options.image.c_str(), R_OK) == 0;
    return fail(opened.status().message() + (only_readable ? "; it can be mounted read-only, with -r" : ""));
  }
  const std::unique_ptr<fvd::Image> image = std::move(*opened);
  const Descriptor image_fd(::open(options.image.c_str(), O_PATH | O_CLOEXEC));

  int status = 0;
  bool is_ready = false;
  std::string start_error;
  {
    Filesystem filesystem(*image, filesystem_options(options, image_fd.get()));
    const Arguments arguments = session_arguments(options);
    const fuse_lowlevel_ops& operations = Filesystem::operations();
    std::unique_ptr<fuse_session, DestroySession> session(
        fuse_session_new(arguments.get(), &operations, sizeof(operations), &filesystem));
    if (!session) return fail("cannot start a FUSE session: " + take_libfuse_complaint());
    if (const std::string why = mount_session(session.get(), options); !why.empty()) return fail(why);
    if (!install_transport(session.get())) spdlog::warn("libfuse keeps its own transport: writes will be slower");
    (void)!::chdir("/");

    filesystem.on_ready([&] {
      // Before the kernel is answered, which then takes no less. Only root may.
      (void)set_readahead(options.mount_point, options.max_readahead);
      if (!options.pid_file.empty() && !write_pid_file(options.pid_file)) {
        start_error = "cannot write " + options.pid_file + ": " + errno_text();
        fuse_session_exit(session.get());
        return;
      }
      is_ready = true;
      spdlog::info("{} mounted at {}", options.image, options.mount_point);
      daemon.ready();
    });
    filesystem.start(session.get(), options.mount_point);
    const int result = serve(session.get(), filesystem, options);
    image->closing();
    // Closes the connection first, so that nothing that the lanes wait for can hang.
    fuse_session_unmount(session.get());
    filesystem.stop();
    // A worker that is just taking a request when the kernel closes the connection hears of an abort: an end like
    // others.
    if (result < 0 && result != -ECONNABORTED && start_error.empty()) {
      spdlog::error("the FUSE session ended with an error: {}", std::generic_category().message(-result));
      status = 1;
    }
  }

  if (const fvd::Status closed = image->close(); !closed) {
    spdlog::error("closing {}: {}", options.image, closed.message());
    status = 1;
  } else {
    spdlog::info("{} closed", options.image);
  }
  if (is_ready && !options.pid_file.empty()) (void)::unlink(options.pid_file.c_str());
  if (!start_error.empty()) return fail(start_error);
  if (!is_ready) return fail("the mount ended before it answered");
  return status;
}

}  // namespace fvdfs
