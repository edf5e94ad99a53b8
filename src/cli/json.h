// What the commands print under --json, as text. One source file has all of it, so that only one needs the JSON
// library. Pure functions; thread-safe.
#ifndef FVD_CLI_JSON_H_
#define FVD_CLI_JSON_H_

#include <string>
#include <vector>

#include "check/check.h"
#include "fvd/image.h"

namespace fvd::cli {

std::string info_as_json(const ImageInfo& info, const std::vector<SnapshotInfo>& snapshots);
std::string tree_as_json(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent);
std::string list_as_json(const std::vector<SnapshotInfo>& snapshots);
std::string report_as_json(const std::string& image, const CheckReport& report);
std::string repair_as_json(const std::string& image, const RepairReport& report);

// "corruption" or "leak".
const char* kind_name(CheckFinding::Kind kind);

}  // namespace fvd::cli

#endif  // FVD_CLI_JSON_H_
