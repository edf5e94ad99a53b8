// File: the bytes under an image, and the only place where the host's errors enter the library.
//
// One interface, two kinds of implementation: PosixFile (a regular file or a block device) and, in tests, files that
// record, drop, tear or refuse what the image asks of them. All methods are thread-safe. Offsets and lengths are bytes.
#ifndef FVD_IO_FILE_H_
#define FVD_IO_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "fvd/status.h"

namespace fvd {

class File {
 public:
  virtual ~File() = default;

  // Fills `out` entirely. What lies past the end of the file reads as zeros. Retries short reads and EINTR.
  virtual Status read(std::uint64_t offset, std::span<std::byte> out) = 0;
  // Writes all of `data`, growing the file where needed. On failure any part may have been written.
  virtual Status write(std::uint64_t offset, std::span<const std::byte> data) = 0;
  // Makes completed writes, zeroing, and the size needed to read them durable (fdatasync). After a failure, what was
  // written since the last success may be lost and a later success says nothing about it.
  virtual Status sync() = 0;
  // Writes all of `data` and makes it durable, it alone: what was written before may still be lost. On failure as
  // write() and sync(). Cheapest where memory, offset and length are multiples of 4096 and the host has storage there.
  virtual Status write_durably(std::uint64_t offset, std::span<const std::byte> data) {
    if (Status s = write(offset, data); !s) return s;
    return sync();
  }
  // Makes the range read as zeros, giving its storage back to the host where that is possible.
  virtual Status zero(std::uint64_t offset, std::uint64_t length) = 0;
  // Reserves host storage for the range (content unchanged); success without doing so where the host cannot.
  virtual Status reserve(std::uint64_t offset, std::uint64_t length) = 0;
  // Sets the size of a regular file (new bytes read as zeros). A block device answers kNoSpace when asked for more than
  // it has and success otherwise.
  virtual Status truncate(std::uint64_t size) = 0;
  [[nodiscard]] virtual Result<std::uint64_t> size() const = 0;
  // Bytes allocated by the host (st_blocks * 512; the whole size of a block device).
  [[nodiscard]] virtual Result<std::uint64_t> allocated() const = 0;
  // First offset in [offset, end) where the host may hold non-zero data (or has a hole); `end` when there is none.
  // Where the host cannot tell, everything is data.
  virtual Result<std::uint64_t> seek_data(std::uint64_t offset, std::uint64_t end) = 0;
  virtual Result<std::uint64_t> seek_hole(std::uint64_t offset, std::uint64_t end) = 0;
  // The owner begins to close: whoever asks for the file from now on may wait for it instead of being refused.
  virtual void closing() {}
  [[nodiscard]] virtual bool is_block_device() const = 0;
  [[nodiscard]] virtual const std::string& path() const = 0;  // for messages
};

}  // namespace fvd

#endif  // FVD_IO_FILE_H_
