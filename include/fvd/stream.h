// Sending a snapshot to another image, whole or as what changed since an earlier one: the stream of `fvd send`,
// `fvd receive` and the daemon's `.fvd/send`. docs/stream-format.md specifies its bytes. Offsets and lengths are bytes.
#ifndef FVD_STREAM_H_
#define FVD_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "fvd/image.h"

namespace fvd {

// Makes the stream of one snapshot, piece by piece. Keeps the snapshots that it is made from from deletion while it
// lives, and must not outlive the image. The image may be written meanwhile. Not thread-safe.
class SendStream {
 public:
  // `since`: the stream holds what changed since that snapshot, and can be received only where that is; 0 = everything.
  // kNotFound when either is not there, kInvalid when they are the same.
  static Result<std::unique_ptr<SendStream>> open(Image& image, SnapshotId snapshot, SnapshotId since = 0);
  virtual ~SendStream() = default;

  // Fills `out` with what comes next. Returns the bytes given: 0 only at the end, and fewer than asked there or where
  // much had to be read for little. After a failure the stream is of no use: every further call fails alike.
  virtual Result<std::size_t> read(std::span<std::byte> out) = 0;
  // How far it is, in bytes of the snapshot's disk, and how large that is.
  [[nodiscard]] virtual std::uint64_t position() const = 0;
  [[nodiscard]] virtual std::uint64_t virtual_size() const = 0;
};

struct ReceiveOptions {
  std::string name;  // of the snapshot in the image; "" = as in the stream
  // Called now and then, in the caller's thread, with the same numbers as SendStream has; may be empty.
  std::function<void(std::uint64_t position, std::uint64_t virtual_size)> progress{};
};

// Gives the next bytes of a stream: any number of at least one, or 0 at its end.
using StreamSource = std::function<Result<std::size_t>(std::span<std::byte>)>;

// Builds in `image` the snapshot whose stream `source` gives, up to its end, and returns its id. All or nothing, and
// durable when it returns. kCorrupt when the stream is cut or damaged, kUnsupported when it is a later version's,
// kExists when the snapshot or its name is there already, kNotFound when the one that the stream is relative to is not,
// kBusy when two are; else the errors of Image::import_snapshot().
Result<SnapshotId> receive_snapshot(Image& image, const StreamSource& source, const ReceiveOptions& options);

}  // namespace fvd

#endif  // FVD_STREAM_H_
