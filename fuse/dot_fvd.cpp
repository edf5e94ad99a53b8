#include "fuse/dot_fvd.h"

#include <map>

#include "fvd/version.h"
#include "image/info_json.h"
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
  nlohmann::ordered_json json = {{"program", "fvdfs"}, {"version", FVD_VERSION_STRING}};
  json.update(fvd::info_json(image.info(), image.snapshots()));
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

std::optional<SendName> find_send(const fvd::Image& image, std::string_view name) {
  if (const auto whole = image.find_snapshot(name)) return SendName{whole->id, 0};
  for (std::size_t at = name.find(".."); at != std::string_view::npos; at = name.find("..", at + 1)) {
    const auto since = image.find_snapshot(name.substr(0, at));
    const auto snapshot = image.find_snapshot(name.substr(at + 2));
    if (since && snapshot && since->id != snapshot->id) return SendName{snapshot->id, since->id};
  }
  return std::nullopt;
}

}  // namespace fvdfs
