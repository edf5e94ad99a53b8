// What the files of `.fvd` say, made from the image at the moment they are opened, and what the names in `.fvd/send`
// mean. Pure functions; thread-safe.
#ifndef FVDFS_DOT_FVD_H_
#define FVDFS_DOT_FVD_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fvd/image.h"

namespace fvdfs {

// `.fvd/tree`: the exact tree in one line, then drawn.
std::string render_tree(const fvd::Image& image);
// `.fvd/info.json`: fvd::ImageInfo and the tree.
std::string render_info(const fvd::Image& image);
// `.fvd/metrics`: Prometheus text format; metrics of one name stand together under one HELP and TYPE.
std::string render_metrics(const std::vector<fvd::Metric>& metrics);

// `.fvd/send/NAME`: the stream of that snapshot. `.fvd/send/OLD..NEW`: what changed between two. A snapshot that has
// the whole name goes first; else the leftmost ".." that stands between the names of two different snapshots counts.
struct SendName {
  fvd::SnapshotId snapshot = 0;
  fvd::SnapshotId since = 0;  // 0 = all of it
};
std::optional<SendName> find_send(const fvd::Image& image, std::string_view name);

}  // namespace fvdfs

#endif  // FVDFS_DOT_FVD_H_
