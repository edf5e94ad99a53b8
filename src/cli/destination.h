// Destination: a new disk that a command fills: a raw file, a block device, or current-state of a new image.
//
// Until finish() has returned success, what was made is taken away again by the destructor. Writes come from several
// threads.
#ifndef FVD_CLI_DESTINATION_H_
#define FVD_CLI_DESTINATION_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "fvd/image.h"

namespace fvd::cli {

struct DestinationOptions {
  std::string path;
  std::uint64_t size = 0;                        // bytes; of an image rounded up to 512
  bool image = false;                            // an FVD image instead of a raw disk
  bool force = false;                            // replace a file; use a block device
  std::uint32_t chunk_size = kDefaultChunkSize;  // of an image
  std::uint32_t block_size = kDefaultBlockSize;
};

class Destination {
 public:
  // kExists where something is and `force` is not given, kLocked where it is in use even so, kNoSpace for a device that
  // is too small. On failure nothing was touched, or what was made is gone.
  static Result<std::unique_ptr<Destination>> make(const DestinationOptions& options);
  virtual ~Destination() = default;

  virtual Status write(std::uint64_t offset, std::span<const std::byte> data) = 0;
  // The range reads as zeros, and takes no space where that is possible.
  virtual Status zero(std::uint64_t offset, std::uint64_t length) = 0;
  // Everything is on stable storage, the name too.
  virtual Status finish() = 0;

 protected:
  Destination() = default;
};

}  // namespace fvd::cli

#endif  // FVD_CLI_DESTINATION_H_
