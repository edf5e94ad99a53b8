// What an image tells about itself, as JSON: the same in `.fvd/info.json` and in `fvd info --json`. Pure; thread-safe.
// For programs only: the library itself needs no JSON.
#ifndef FVD_IMAGE_INFO_JSON_H_
#define FVD_IMAGE_INFO_JSON_H_

#include <nlohmann/json.hpp>
#include <vector>

#include "fvd/image.h"
#include "image/tree_json.h"

namespace fvd {

// The fields of ImageInfo in exact bytes, then those of tree_json() under "tree". What there is none of is null.
inline nlohmann::ordered_json info_json(const ImageInfo& info, const std::vector<SnapshotInfo>& snapshots) {
  using Json = nlohmann::ordered_json;
  Json base = nullptr;
  if (!info.base_path.empty()) {
    base = {{"path", info.base_path},
            {"format", info.base_format.empty() ? "raw" : info.base_format},
            {"size", info.base_size},
            {"missing", !info.base_error.empty()}};
  }
  const auto text_or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  return {{"image", info.path},
          {"uuid", text_or_null(info.uuid)},
          {"format_version", info.format_version},
          {"features", info.features},
          {"virtual_size", info.virtual_size},
          {"allocated", info.allocated},
          {"file_size", info.file_size},
          {"host_allocated", info.host_allocated},
          {"block_device", info.is_block_device},
          {"chunk_size", info.chunk_size},
          {"block_size", info.block_size},
          {"chunks_total", info.chunks_total},
          {"chunks_used", info.chunks_used},
          {"partial_chunks", info.partial_chunks},
          {"journal_size", info.journal_size},
          {"clean", info.was_clean},
          {"read_only", info.read_only},
          {"error", text_or_null(info.error)},
          {"base", std::move(base)},
          {"data_file", text_or_null(info.data_path)},
          {"tree", tree_json(snapshots, info.parent)}};
}

}  // namespace fvd

#endif  // FVD_IMAGE_INFO_JSON_H_
