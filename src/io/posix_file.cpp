#include "io/posix_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>

#include "base/aligned_bytes.h"

namespace fvd {
namespace {

// The kernel caches what one call writes in pages as large as that, and a later small write then costs as if all of
// such a page had become dirty (Linux 6.18, ext4): random 4 KiB writes into what calls of 1 MiB had written had a half
// to a third of the rate that they have after calls of 128 KiB, and an eighth on a loop device.
constexpr std::uint64_t kMostAtOnce = 128U << 10;

constexpr std::uint64_t kMaxOffset = 0x7FFFFFFFFFFFFFFFULL;

constexpr int kLockPollMs = 10;
constexpr int kNoticeMs = 300;     // what a daemon may take to notice that it was unmounted
constexpr int kClosingMs = 30000;  // what closing may take

// Byte 0 says that the owner serves the file; it is given up first.
struct flock lock_of(short type, bool serving_byte_only) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_len = serving_byte_only ? 1 : 0;  // 0: the whole file, however long it grows
  return lock;
}

// File systems that are known to make a write with RWF_DSYNC durable. Others may pass over it in silence: FUSE does not
// tell its daemons of it.
bool honours_dsync(int fd) {
  constexpr std::array<std::uint32_t, 5> kKnown{EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC,
                                                TMPFS_MAGIC};
  struct statfs fs {};
  if (::fstatfs(fd, &fs) != 0) return false;
  return std::find(kKnown.begin(), kKnown.end(), static_cast<std::uint32_t>(fs.f_type)) != kKnown.end();
}

Status lock_file(int fd, const std::string& path, LockMode mode) {
  if (mode == LockMode::kNone) return Status::ok();
  const short type = mode == LockMode::kExclusive ? F_WRLCK : F_RDLCK;
  for (int waited = 0;; waited += kLockPollMs) {
    struct flock lock = lock_of(type, false);
    if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return Status::ok();
    if (errno != EAGAIN && errno != EACCES) return Status::from_errno(errno, "lock", path);
    struct flock serving = lock_of(type, true);
    const bool closing = ::fcntl(fd, F_OFD_GETLK, &serving) == 0 && serving.l_type == F_UNLCK;
    if (waited >= (closing ? kClosingMs : kNoticeMs)) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(kLockPollMs));
  }
  return {Code::kLocked,
          "image " + path + " is in use by another process (is it mounted, or attached to a virtual machine?); " +
              (mode == LockMode::kExclusive ? "unmount or stop that first"
                                            : "unmount or stop that first, or read it as it is with --force-share"),
          EAGAIN};
}

}  // namespace

Result<std::unique_ptr<PosixFile>> PosixFile::open(const std::string& path, const PosixFileOptions& options) {
  struct stat st {};
  const bool exists = ::stat(path.c_str(), &st) == 0;
  if (!exists && errno != ENOENT) return Status::from_errno(errno, "open", path);
  if (exists && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
    return Status(Code::kUnsupported, path + " is neither a regular file nor a block device");
  }
  int flags = (options.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY;
  if (options.create) flags |= O_CREAT | O_EXCL;
  if (options.create_or_reuse && !exists) flags |= O_CREAT;
  // On a block device O_EXCL refuses one that is mounted or otherwise claimed.
  if (exists && S_ISBLK(st.st_mode) && options.lock == LockMode::kExclusive) flags |= O_EXCL;
  const int fd = ::open(path.c_str(), flags, 0644);
  if (fd < 0) {
    if (errno == EBUSY) {
      return Status(Code::kLocked, "device " + path + " is in use (mounted, or open exclusively); release it first",
                    EBUSY);
    }
    return Status::from_errno(errno, options.create ? "create" : "open", path);
  }
  if (::fstat(fd, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))) {
    ::close(fd);
    return Status(Code::kUnsupported, path + " is neither a regular file nor a block device");
  }
  std::unique_ptr<PosixFile> file(new PosixFile(fd, path, S_ISBLK(st.st_mode)));
  if (Status s = lock_file(fd, path, options.lock); !s) return s;
  return file;
}

PosixFile::PosixFile(int fd, std::string path, bool block_device)
    : fd_(fd), path_(std::move(path)), block_device_(block_device), honours_dsync_(block_device || honours_dsync(fd)) {}

PosixFile::~PosixFile() {
  if (direct_fd_ >= 0) ::close(direct_fd_);
  ::close(fd_);
}

void PosixFile::closing() {
  struct flock lock = lock_of(F_UNLCK, true);
  (void)::fcntl(fd_, F_OFD_SETLK, &lock);
}

Status PosixFile::error(const char* operation) const { return Status::from_errno(errno, operation, path_); }

Status PosixFile::read(std::uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return error("read");
    }
    if (n == 0) {  // past the end
      std::memset(out.data(), 0, out.size());
      break;
    }
    offset += static_cast<std::uint64_t>(n);
    out = out.subspan(static_cast<std::size_t>(n));
  }
  return Status::ok();
}

// Until all of it is written, by whatever writes some of it, as pwrite() does.
template <typename WriteSome>
Status PosixFile::write_all(std::uint64_t offset, std::span<const std::byte> data, WriteSome&& write_some) {
  while (!data.empty()) {
    const ssize_t n = write_some(offset, data);
    if (n < 0) {
      if (errno == EINTR) continue;
      return error("write");
    }
    if (n == 0) {
      errno = ENOSPC;
      return error("write");
    }
    offset += static_cast<std::uint64_t>(n);
    data = data.subspan(static_cast<std::size_t>(n));
  }
  return Status::ok();
}

Status PosixFile::write(std::uint64_t offset, std::span<const std::byte> data) {
  return write_all(offset, data, [this](std::uint64_t at, std::span<const std::byte> left) {
    const std::size_t piece = std::min<std::size_t>(left.size(), kMostAtOnce - at % kMostAtOnce);
    return ::pwrite(fd_, left.data(), piece, static_cast<off_t>(at));
  });
}

Status PosixFile::sync() {
  // Never retried: after a failed fdatasync the kernel may have dropped the pages and marked them clean.
  if (::fdatasync(fd_) == 0) return Status::ok();
  // Data is lost: that is no matter of making room and trying again, whatever the host calls it.
  const Status s = error("sync");
  return s.code() == Code::kNoSpace ? Status(Code::kIo, s.message(), s.system_error()) : s;
}

// The same file, whatever its name is by now.
int PosixFile::direct() {
  std::call_once(opens_direct_, [this] {
    direct_fd_ = ::open(("/proc/self/fd/" + std::to_string(fd_)).c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC | O_NOCTTY);
  });
  return direct_fd_;
}

Status PosixFile::write_durably(std::uint64_t offset, std::span<const std::byte> data) {
  const bool is_aligned =
      (reinterpret_cast<std::uintptr_t>(data.data()) | offset | data.size()) % kDirectAlignment == 0;
  if (honours_dsync_ && is_aligned && direct() >= 0) {
    const Status s = write_all(offset, data, [this](std::uint64_t at, std::span<const std::byte> left) {
      const iovec piece{const_cast<std::byte*>(left.data()), left.size()};
      return ::pwritev2(direct_fd_, &piece, 1, static_cast<off_t>(at), RWF_DSYNC);
    });
    // A host that takes the flag of open() may take no such write, or not the rest of one that it did in part.
    const int why = s.system_error();
    if (why != EINVAL && why != EOPNOTSUPP && why != ENOSYS) return s;
  }
  if (Status s = write(offset, data); !s) return s;
  return sync();
}

Status PosixFile::zero(std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return Status::ok();
  const auto off = static_cast<off_t>(offset);
  const auto len = static_cast<off_t>(length);
  const auto attempt = [&](int mode) {
    int rc = 0;
    do {
      rc = ::fallocate(fd_, mode | FALLOC_FL_KEEP_SIZE, off, len);
    } while (rc != 0 && errno == EINTR);
    return rc == 0;
  };
  if (attempt(FALLOC_FL_PUNCH_HOLE) || attempt(FALLOC_FL_ZERO_RANGE)) return Status::ok();
  if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) return error("zero");
  static constexpr std::array<std::byte, 65536> kZeros{};
  // The host can do neither: write zeros, but not past the end of a regular file, where zeros are read anyway.
  auto end = size();
  if (!end) return end.status();
  std::uint64_t left = *end > offset ? std::min(length, *end - offset) : 0;
  while (left > 0) {
    const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(left, kZeros.size()));
    if (Status s = write(offset, std::span(kZeros).first(n)); !s) return s;
    offset += n;
    left -= n;
  }
  return Status::ok();
}

Status PosixFile::reserve(std::uint64_t offset, std::uint64_t length) {
  if (block_device_ || length == 0) return Status::ok();
  int rc = 0;
  do {
    rc = ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(length));
  } while (rc != 0 && errno == EINTR);
  if (rc == 0 || errno == EOPNOTSUPP || errno == ENOSYS) return Status::ok();
  return error("reserve");
}

Status PosixFile::truncate(std::uint64_t new_size) {
  if (block_device_) {
    auto have = size();
    if (!have) return have.status();
    if (new_size <= *have) return Status::ok();
    errno = ENOSPC;
    return error("grow");
  }
  if (new_size > kMaxOffset) {
    errno = EFBIG;
    return error("grow");
  }
  return ::ftruncate(fd_, static_cast<off_t>(new_size)) == 0 ? Status::ok() : error("truncate");
}

Result<std::uint64_t> PosixFile::size() const {
  if (block_device_) {
    std::uint64_t bytes = 0;
    if (::ioctl(fd_, BLKGETSIZE64, &bytes) != 0) return error("measure");
    return bytes;
  }
  struct stat st {};
  if (::fstat(fd_, &st) != 0) return error("stat");
  return static_cast<std::uint64_t>(st.st_size);
}

Result<std::uint64_t> PosixFile::allocated() const {
  if (block_device_) return size();
  struct stat st {};
  if (::fstat(fd_, &st) != 0) return error("stat");
  return static_cast<std::uint64_t>(st.st_blocks) * 512;
}

Result<std::uint64_t> PosixFile::seek_data(std::uint64_t offset, std::uint64_t end) {
  if (offset >= end) return end;
  const off_t found = ::lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
  if (found >= 0) return std::min(static_cast<std::uint64_t>(found), end);
  if (errno == ENXIO) return end;  // no data up to the end of the file, or past it
  if (errno == EINVAL || errno == EOPNOTSUPP) return offset;
  return error("seek");
}

Result<std::uint64_t> PosixFile::seek_hole(std::uint64_t offset, std::uint64_t end) {
  if (offset >= end) return end;
  const off_t found = ::lseek(fd_, static_cast<off_t>(offset), SEEK_HOLE);
  if (found >= 0) return std::min(static_cast<std::uint64_t>(found), end);
  if (errno == ENXIO) return offset;  // past the end of the file: a hole
  if (errno == EINVAL || errno == EOPNOTSUPP) return end;
  return error("seek");
}

std::string path_beside(const std::string& image_path, const std::string& path) {
  if (path.starts_with('/')) return path;
  std::string image = image_path;
  struct stat link {};
  struct stat file {};
  // A link to an image may lie anywhere, also beside another file of that name. Links to devices are their names.
  if (::lstat(image.c_str(), &link) == 0 && S_ISLNK(link.st_mode) && ::stat(image.c_str(), &file) == 0 &&
      S_ISREG(file.st_mode)) {
    std::error_code unresolved;
    const std::filesystem::path resolved = std::filesystem::canonical(image, unresolved);
    if (!unresolved) image = resolved.string();
  }
  const std::size_t slash = image.rfind('/');
  return slash == std::string::npos ? path : image.substr(0, slash + 1) + path;
}

Status sync_directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Status::from_errno(errno, "open", directory);
  const int rc = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  if (rc != 0 && error != EINVAL) return Status::from_errno(error, "sync", directory);
  return Status::ok();
}

}  // namespace fvd
