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

namespace {

Json findings_json(const CheckReport& report) {
  Json findings = Json::array();
  for (const CheckFinding& finding : report.findings) {
    findings.push_back(
        {{"kind", kind_name(finding.kind)}, {"structure", finding.structure}, {"message", finding.message}});
  }
  return findings;
}

Json report_json(const std::string& image, const CheckReport& report) {
  return {{"image", image},
          {"exit_status", report.exit_status()},
          {"corruptions", report.corruptions},
          {"leaks", report.leaks},
          {"chunks_total", report.chunks_total},
          {"chunks_used", report.chunks_used},
          {"snapshots", report.snapshots},
          {"journal_records", report.journal_records},
          {"clean", report.clean},
          {"findings", findings_json(report)}};
}

}  // namespace

std::string report_as_json(const std::string& image, const CheckReport& report) {
  return json_text(report_json(image, report));
}

std::string repair_as_json(const std::string& image, const RepairReport& report) {
  Json json = report_json(image, report.after);
  json["repaired"] = report.done;
  json["refused"] = report.refused;
  json["found_before"] = findings_json(report.before);
  return json_text(json);
}

const char* kind_name(CheckFinding::Kind kind) {
  return kind == CheckFinding::Kind::kCorruption ? "corruption" : "leak";
}

}  // namespace fvd::cli
