// What the commands print under --json, as text. One source file has all of it, so that only one needs the JSON
// library. Pure functions; thread-safe.
#ifndef FVD_CLI_JSON_H_
#define FVD_CLI_JSON_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "check/check.h"
#include "fvd/image.h"

namespace fvd::cli {

std::string info_as_json(const ImageInfo& info, const std::vector<SnapshotInfo>& snapshots);
std::string tree_as_json(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent);
// `exclusive`: bytes, one for each snapshot; null where there is none.
std::string list_as_json(const std::vector<SnapshotInfo>& snapshots,
                         const std::vector<std::optional<std::uint64_t>>& exclusive);
// The array that `qemu-img map --output=json` prints: start, length, depth (1 = the base image), present, zero, data
// and, where the bytes lie in a file, offset.
std::string extents_as_json(const std::vector<Extent>& extents);
struct DiffState {
  std::string name;
  std::uint64_t size = 0;
};
std::string diff_as_json(const std::string& image, const DiffState& a, const DiffState& b,
                         const std::vector<Extent>& extents);
std::string measure_as_json(const ImageMeasure& measure);
std::string report_as_json(const std::string& image, const CheckReport& report);
std::string repair_as_json(const std::string& image, const RepairReport& report);

// "corruption" or "leak".
const char* kind_name(CheckFinding::Kind kind);

}  // namespace fvd::cli

#endif  // FVD_CLI_JSON_H_
