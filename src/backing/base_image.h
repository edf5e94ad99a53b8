// BaseImage: the read-only disk under an image that was created with one. Raw files and block devices.
// Thread-safe. What lies past the base's recorded size reads as zeros.
#ifndef FVD_BACKING_BASE_IMAGE_H_
#define FVD_BACKING_BASE_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "fvd/status.h"
#include "io/file.h"

namespace fvd {

// What the first bytes of a file say that it is ("qcow2", "vmdk", ...), "" for what may be a raw disk.
Result<std::string> probe_format(File& file);

class BaseImage {
 public:
  // Opens the base of the image at `image_path`; a relative `path` is taken from the image's directory. `size`: bytes
  // that show through. kUnsupported for a format other than "raw" or "".
  static Result<std::unique_ptr<BaseImage>> open(const std::string& path, const std::string& format,
                                                 const std::string& image_path, std::uint64_t size);

  // In place of one that could not be opened: every call that would read it fails with `why`.
  static std::unique_ptr<BaseImage> missing(std::uint64_t size, Status why);

  Result<std::string> probe();  // as probe_format()

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] Result<std::uint64_t> file_size() const;  // bytes, of the base as it is
  // Why it could not be opened; ok when it was.
  [[nodiscard]] const Status& why_missing() const { return why_missing_; }
  Status read(std::uint64_t offset, std::span<std::byte> out);
  // As File::seek_data and File::seek_hole, within the recorded size.
  Result<std::uint64_t> seek_data(std::uint64_t offset, std::uint64_t end);
  Result<std::uint64_t> seek_hole(std::uint64_t offset, std::uint64_t end);

 private:
  BaseImage(std::unique_ptr<File> file, std::uint64_t size, Status why_missing = {})
      : file_(std::move(file)), size_(size), why_missing_(std::move(why_missing)) {}
  const std::unique_ptr<File> file_;  // null when it is missing
  const std::uint64_t size_;
  const Status why_missing_;
};

}  // namespace fvd

#endif  // FVD_BACKING_BASE_IMAGE_H_
