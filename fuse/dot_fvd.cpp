#include "fuse/dot_fvd.h"

#include <map>

#include "fvd/version.h"
#include "image/tree_json.h"
#include "image/tree_text.h"

namespace fvdfs {
namespace {

// Help texts must stay on one line.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string render_tree(const fvd::Image& image) { return fvd::tree_text(image.snapshots(), image.current_parent()); }

std::string render_info(const fvd::Image& image) {
  const fvd::ImageInfo info = image.info();
  using Json = nlohmann::ordered_json;
  const auto text_or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  Json json = {{"program", "fvdfs"},
               {"version", FVD_VERSION_STRING},
               {"image", info.path},
               {"uuid", info.uuid},
               {"format_version", info.format_version},
               {"features", info.features},
               {"chunk_size", info.chunk_size},
               {"block_size", info.block_size},
               {"virtual_size", info.virtual_size},
               {"allocated", info.allocated},
               {"file_size", info.file_size},
               {"host_allocated", info.host_allocated},
               {"chunks_total", info.chunks_total},
               {"chunks_used", info.chunks_used},
               {"partial_chunks", info.partial_chunks},
               {"journal_size", info.journal_size},
               {"was_clean", info.was_clean},
               {"read_only", info.read_only},
               {"block_device", info.is_block_device},
               {"error", text_or_null(info.error)},
               {"base", info.base_path.empty() ? Json(nullptr)
                                               : Json{{"path", info.base_path},
                                                      {"format", text_or_null(info.base_format)},
                                                      {"size", info.base_size}}},
               {"tree", fvd::tree_json(image.snapshots(), image.current_parent())}};
  return fvd::json_text(json);
}

std::string render_metrics(const std::vector<fvd::Metric>& metrics) {
  std::map<std::string, std::vector<const fvd::Metric*>> families;
  std::vector<std::string> order;
  for (const fvd::Metric& metric : metrics) {
    auto& family = families[metric.name];
    if (family.empty()) order.push_back(metric.name);
    family.push_back(&metric);
  }
  std::string text;
  for (const std::string& name : order) {
    const auto& family = families[name];
    text += "# HELP " + name + " " + escaped(family.front()->help) + "\n";
    text += "# TYPE " + name + (family.front()->counter ? " counter\n" : " gauge\n");
    for (const fvd::Metric* metric : family) {
      text += name;
      if (!metric->labels.empty()) text += "{" + metric->labels + "}";
      text += " " + std::to_string(metric->value) + "\n";
    }
  }
  return text;
}

}  // namespace fvdfs
