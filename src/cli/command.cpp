#include "cli/command.h"

#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <limits>
#include <optional>
#include <ostream>

#include "cli/progress.h"
#include "cli/size.h"
#include "cli/source.h"
#include "image/tree_text.h"

namespace fvd::cli {
namespace {

// What to do about it, where the library cannot know the tool's words for that.
std::string advice(const std::string& image, const Status& status) {
  switch (status.code()) {
    case Code::kNotFound:
      return status.system_error() == 0 ? "; see: fvd snapshot list " + image : "; check the path";
    case Code::kBusy:
      return status.message().ends_with("take the hold off first") ? " with: fvd snapshot release " + image + " NAME"
                                                                   : "";
    case Code::kNoSpace:
      return "; free some space there and try again";
    case Code::kIo:
      return "; see the kernel's log for the storage's errors";
    default:
      return {};
  }
}

}  // namespace

int fail(const Streams& streams, const std::string& image, const Status& status) {
  std::string message = status.message();
  if (message.find(image) == std::string::npos) message.insert(0, "image " + image + ": ");
  streams.err << "fvd: " << one_line(message + advice(image, status)) << '\n';
  return kFailure;
}

int usage_error(const Streams& streams, const Command& command, const std::string& what) {
  streams.err << "fvd " << command.name << ": " << one_line(what) << "; see: fvd " << command.name << " --help\n";
  return kUsage;
}

void declare_force_share(po::options_description& options) {
  options.add_options()("force-share,U", po::bool_switch(),
                        "read the image although another process writes it; what is read may be out of date");
}

Result<std::unique_ptr<Image>> open_to_read(const Invocation& invocation) {
  const Progress::Part part(invocation.progress, "opening the image");
  OpenOptions how;
  how.read_only = true;
  how.force_share = invocation.flag("force-share");
  return Image::open(invocation.operands[0], how);
}

int with_image(const Invocation& invocation, const std::function<Status(Image&)>& change, OwnProgress own) {
  const std::string& path = invocation.operands[0];
  std::optional<Progress::Part> part(std::in_place, invocation.progress, "opening the image");
  OpenOptions how;
  how.completion_idle = std::chrono::milliseconds(0);  // a command is over before it could begin
  auto image = Image::open(path, how);
  part.reset();
  if (!image) return fail(invocation.streams, path, image.status());
  if (own == OwnProgress::kNo) part.emplace(invocation.progress);
  Status s = change(**image);
  part.reset();
  if (s.is_ok()) {
    part.emplace(invocation.progress, "closing the image");
    s = (*image)->close();
    part.reset();
  }
  return s.is_ok() ? kSuccess : fail(invocation.streams, path, s);
}

Status read_unit(const Invocation& invocation, const char* name, std::uint32_t* to) {
  const std::string text = invocation.text(name);
  if (text.empty()) return Status::ok();
  const auto bytes = parse_size(text);
  if (!bytes) return bytes.status();
  if (*bytes > std::numeric_limits<std::uint32_t>::max()) return {Code::kInvalid, "the size " + text + " is too large"};
  *to = static_cast<std::uint32_t>(*bytes);
  return Status::ok();
}

Status read_source_options(const Invocation& invocation, SourceOptions* to, const char* snapshot, const char* format) {
  to->snapshot = invocation.text(snapshot);
  to->format = invocation.text(format);
  to->force_share = invocation.flag("force-share");
  if (to->format.empty() || to->format == "raw" || to->format == "fvd") return Status::ok();
  return {Code::kInvalid, "the format of a disk is raw or fvd, not \"" + to->format + "\""};
}

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, '?');
  return text;
}

std::string exact_size(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " bytes";
  return human_bytes(bytes) + " (" + std::to_string(bytes) + " bytes)";
}

}  // namespace fvd::cli
