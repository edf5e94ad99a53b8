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

std::string list_as_json(const std::vector<SnapshotInfo>& snapshots,
                         const std::vector<std::optional<std::uint64_t>>& exclusive) {
  Json list = tree_json(snapshots, 0)["snapshots"];
  for (std::size_t i = 0; i < list.size(); ++i)
    list[i]["exclusive"] = exclusive[i] ? Json(*exclusive[i]) : Json(nullptr);
  return json_text(list);
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

std::string extents_as_json(const std::vector<Extent>& extents) {
  Json list = Json::array();
  for (const Extent& e : extents) {
    const bool placed = e.place != Extent::Place::kNowhere;
    list.push_back({{"start", e.offset},
                    {"length", e.length},
                    {"depth", e.place == Extent::Place::kBase ? 1 : 0},
                    {"present", placed},
                    {"zero", !e.data},
                    {"data", e.data}});
    if (placed) list.back()["offset"] = e.file_offset;
  }
  return json_text(list);
}

std::string diff_as_json(const std::string& image, const DiffState& a, const DiffState& b,
                         const std::vector<Extent>& extents) {
  std::uint64_t total = 0;
  Json list = Json::array();
  for (const Extent& e : extents) {
    total += e.length;
    list.push_back({{"start", e.offset}, {"length", e.length}});
  }
  const auto state = [](const DiffState& one) { return Json{{"name", one.name}, {"virtual_size", one.size}}; };
  return json_text(
      {{"image", image}, {"a", state(a)}, {"b", state(b)}, {"total", total}, {"extents", std::move(list)}});
}

std::string measure_as_json(const ImageMeasure& measure) {
  return json_text({{"required", measure.required}, {"fully-allocated", measure.fully_allocated}});
}

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
