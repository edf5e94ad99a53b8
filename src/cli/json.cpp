#include "cli/json.h"

#include "image/info_json.h"
#include "image/tree_json.h"

namespace fvd::cli {

using Json = nlohmann::ordered_json;

std::string info_as_json(const ImageInfo& info, const std::vector<SnapshotInfo>& snapshots) {
  return json_text(info_json(info, snapshots));
}

std::string tree_as_json(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent) {
  return json_text(tree_json(snapshots, current_parent));
}

std::string list_as_json(const std::vector<SnapshotInfo>& snapshots) {
  return json_text(tree_json(snapshots, 0)["snapshots"]);
}

std::string report_as_json(const std::string& image, const CheckReport& report) {
  Json findings = Json::array();
  for (const CheckFinding& finding : report.findings) {
    findings.push_back(
        {{"kind", kind_name(finding.kind)}, {"structure", finding.structure}, {"message", finding.message}});
  }
  return json_text({{"image", image},
                    {"exit_status", report.exit_status()},
                    {"corruptions", report.corruptions},
                    {"leaks", report.leaks},
                    {"chunks_total", report.chunks_total},
                    {"chunks_used", report.chunks_used},
                    {"snapshots", report.snapshots},
                    {"journal_records", report.journal_records},
                    {"clean", report.clean},
                    {"findings", std::move(findings)}});
}

const char* kind_name(CheckFinding::Kind kind) {
  return kind == CheckFinding::Kind::kCorruption ? "corruption" : "leak";
}

}  // namespace fvd::cli
