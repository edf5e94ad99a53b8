// The snapshot tree as JSON, the same in `.fvd/info.json` and in `fvd tree --json`. Pure functions; thread-safe.
// For programs only: the library itself needs no JSON.
#ifndef FVD_IMAGE_TREE_JSON_H_
#define FVD_IMAGE_TREE_JSON_H_

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fvd/image.h"
#include "image/tree_text.h"

namespace fvd {

// {"line", "current_state": {"parent", "parent_id"}, "snapshots": [...]}: parents are names, or null for none; numbers
// are exact bytes; times are RFC 3339 in UTC; snapshots in order of creation.
inline nlohmann::ordered_json tree_json(const std::vector<SnapshotInfo>& snapshots, SnapshotId current_parent) {
  using Json = nlohmann::ordered_json;
  std::map<SnapshotId, std::string> names;
  for (const SnapshotInfo& snapshot : snapshots) names.emplace(snapshot.id, snapshot.name);
  const auto name_or_null = [&names](SnapshotId id) {
    const auto found = names.find(id);
    return found == names.end() ? Json(nullptr) : Json(found->second);
  };
  const auto id_or_null = [](SnapshotId id) { return id == 0 ? Json(nullptr) : Json(id); };
  Json list = Json::array();
  for (const SnapshotInfo& snapshot : snapshots) {
    list.push_back({{"id", snapshot.id},
                    {"name", snapshot.name},
                    {"parent", name_or_null(snapshot.parent)},
                    {"parent_id", id_or_null(snapshot.parent)},
                    {"description", snapshot.description},
                    {"created", rfc3339_utc(snapshot.created_seconds, snapshot.created_nanoseconds)},
                    {"virtual_size", snapshot.virtual_size},
                    {"allocated", snapshot.allocated},
                    {"held", snapshot.held}});
  }
  return {{"line", tree_line(snapshots, current_parent)},
          {"current_state", {{"parent", name_or_null(current_parent)}, {"parent_id", id_or_null(current_parent)}}},
          {"snapshots", std::move(list)}};
}

// `json` as text; what is not UTF-8 in it (names cannot be, descriptions can) is replaced, never thrown.
inline std::string json_text(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace fvd

#endif  // FVD_IMAGE_TREE_JSON_H_
