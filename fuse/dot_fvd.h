// What the files of `.fvd` say, made from the image at the moment they are opened. Pure functions; thread-safe.
#ifndef FVDFS_DOT_FVD_H_
#define FVDFS_DOT_FVD_H_

#include <string>
#include <vector>

#include "fvd/image.h"

namespace fvdfs {

// `.fvd/tree`: the exact tree in one line, then drawn.
std::string render_tree(const fvd::Image& image);
// `.fvd/info.json`: fvd::ImageInfo and the tree.
std::string render_info(const fvd::Image& image);
// `.fvd/metrics`: Prometheus text format; metrics of one name stand together under one HELP and TYPE.
std::string render_metrics(const std::vector<fvd::Metric>& metrics);

}  // namespace fvdfs

#endif  // FVDFS_DOT_FVD_H_
