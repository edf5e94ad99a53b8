// Source: a disk that a command reads: a state of an image, a raw file or a block device.
#ifndef FVD_CLI_SOURCE_H_
#define FVD_CLI_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fvd/image.h"

namespace fvd::cli {

struct SourceOptions {
  std::string snapshot;      // "" = current-state; a raw disk has neither
  std::string format;        // "raw", "fvd", or "" = what its first bytes say
  bool force_share = false;  // of an image that another process writes
};

class Source {
 public:
  // Opens `path` for reading. A file that begins as an FVD image of any version is one, all else is raw. kNotFound when
  // there is no such snapshot, kInvalid for an unknown format or a snapshot of a raw disk.
  static Result<std::unique_ptr<Source>> open(const std::string& path, const SourceOptions& options);

  [[nodiscard]] StateReader& state() const { return *state_; }
  [[nodiscard]] Image* image() const { return image_.get(); }  // null for a raw disk
  [[nodiscard]] std::uint64_t size() const { return state_->virtual_size(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  // Whether `path` names a file that this disk is read from: its own, its base image, or a
  // data file of a version 1 image.
  [[nodiscard]] bool reads_from(const std::string& path) const;

 private:
  explicit Source(std::string path) : path_(std::move(path)) {}
  const std::string path_;
  std::unique_ptr<Image> image_;
  std::shared_ptr<StateReader> snapshot_;
  std::unique_ptr<StateReader> raw_;
  StateReader* state_ = nullptr;
};

// Fills `out` from `offset`, with zeros past the end of the disk.
Status read_padded(StateReader& state, std::uint64_t offset, std::span<std::byte> out);

}  // namespace fvd::cli

#endif  // FVD_CLI_SOURCE_H_
