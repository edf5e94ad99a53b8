// PosixFile: a File on a regular file or block device of the host.
#ifndef FVD_IO_POSIX_FILE_H_
#define FVD_IO_POSIX_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "fvd/status.h"
#include "io/file.h"

namespace fvd {

enum class LockMode : std::uint8_t { kNone, kShared, kExclusive };

struct PosixFileOptions {
  bool read_only = false;
  // OFD lock over the whole file, held until destruction. An owner that is closing (it has given up byte 0) is waited
  // for, since an unmount returns before its daemon has closed the image; any other is kLocked within 0.3 s.
  LockMode lock = LockMode::kNone;
  bool create = false;           // make a new file (mode 0644 less umask); kExists when there is one
  bool create_or_reuse = false;  // make one, or open what is there without changing it yet
};

class PosixFile final : public File {
 public:
  // Opens a regular file or a block device (with O_EXCL, so that a mounted device is refused); anything else is
  // kUnsupported. The caller's own O_DIRECT or O_TRUNC never reach it.
  static Result<std::unique_ptr<PosixFile>> open(const std::string& path, const PosixFileOptions& options);
  ~PosixFile() override;
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Status read(std::uint64_t offset, std::span<std::byte> out) override;
  Status write(std::uint64_t offset, std::span<const std::byte> data) override;
  Status sync() override;
  Status write_durably(std::uint64_t offset, std::span<const std::byte> data) override;
  Status zero(std::uint64_t offset, std::uint64_t length) override;
  Status reserve(std::uint64_t offset, std::uint64_t length) override;
  Status truncate(std::uint64_t size) override;
  [[nodiscard]] Result<std::uint64_t> size() const override;
  [[nodiscard]] Result<std::uint64_t> allocated() const override;
  Result<std::uint64_t> seek_data(std::uint64_t offset, std::uint64_t end) override;
  Result<std::uint64_t> seek_hole(std::uint64_t offset, std::uint64_t end) override;
  void closing() override;
  [[nodiscard]] bool is_block_device() const override { return block_device_; }
  [[nodiscard]] const std::string& path() const override { return path_; }

 private:
  PosixFile(int fd, std::string path, bool block_device);
  template <typename WriteSome>
  Status write_all(std::uint64_t offset, std::span<const std::byte> data, WriteSome&& write_some);
  Status error(const char* operation) const;  // from errno
  int direct();                               // a descriptor that goes past the page cache; -1: there is none

  const int fd_;
  const std::string path_;
  const bool block_device_;
  const bool honours_dsync_;  // a write with RWF_DSYNC is durable, as far as is known
  std::once_flag opens_direct_;
  int direct_fd_ = -1;
};

// Where a file is that an image names: a relative `path` starts at the directory of the image at `image_path`; that of
// the image itself, where that is a symbolic link.
std::string path_beside(const std::string& image_path, const std::string& path);

// Makes the directory entry of `path` durable (fsync of the directory that holds it).
Status sync_directory_of(const std::string& path);

}  // namespace fvd

#endif  // FVD_IO_POSIX_FILE_H_
