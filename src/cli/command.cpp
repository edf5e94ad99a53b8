#include "cli/command.h"

#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <cerrno>
#include <limits>
#include <optional>
#include <ostream>

#include "base/shell.h"
#include "cli/progress.h"
#include "cli/size.h"
#include "cli/source.h"
#include "image/tree_text.h"

namespace fvd::cli {
namespace {

// What to do about it, where the library cannot know the tool's words for that.
std::string advice(const std::string& image, const Status& status) {
  switch (status.system_error()) {
    case 0:
      break;
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
      return "; check the path";
    case EACCES:
    case EPERM:
      return "; check its permissions and those of the directories above it";
    case EROFS:
      return "; it lies on a file system that is mounted read-only";
    case EFBIG:
      return "; the file system, or a limit (ulimit -f), lets no file be so large";
    case EIO:
      return "; see the kernel's log for the storage's errors";
    default:
      break;
  }
  switch (status.code()) {
    case Code::kNotFound:
      return "; see: fvd snapshot list " + shell_operands({image});
    case Code::kExists:
      return status.system_error() == 0 ? "; choose another name" : "";
    case Code::kNoSpace:
      return "; free some space there and try again";
    case Code::kInvalid:
      return status.message().find("not an FVD image") != std::string::npos
                 ? "; of a raw disk one is made with: fvd convert -O fvd"
                 : "";
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
  streams.err << "fvd " << command.name << ": " << one_line(what) << (what.ends_with('?') ? " See" : "; see")
              << ": fvd " << command.name << " --help\n";
  return kUsage;
}

void declare_force_share(po::options_description& options) {
  options.add_options()("force-share,U", po::bool_switch(),
                        "read the image although another process writes it; what is read may be out of date");
}

Result<std::unique_ptr<Image>> open_to_read(const Invocation& invocation, Base base) {
  const Progress::Part part(invocation.progress, "opening the image");
  OpenOptions how;
  how.read_only = true;
  how.force_share = invocation.flag("force-share");
  how.without_base = base == Base::kMayBeMissing;
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

Status read_layout(const Invocation& invocation, CreateOptions* how) {
  const auto read_unit = [&](const char* name, std::uint32_t* to) -> Status {
    if (invocation.options.count(name) == 0) return Status::ok();
    const std::string text = invocation.text(name);
    const auto bytes = parse_size(text);
    if (!bytes) return bytes.status();
    // What does not fit is no power of two in the range either.
    *to = static_cast<std::uint32_t>(std::min<std::uint64_t>(*bytes, std::numeric_limits<std::uint32_t>::max()));
    return Status::ok();
  };
  if (Status s = read_unit("chunk-size", &how->chunk_size); !s) return s;
  if (Status s = read_unit("block-size", &how->block_size); !s) return s;
  return check_layout(*how);
}

Status check_layout(CreateOptions how) {
  how.base_path.clear();
  how.base_format.clear();
  if (how.virtual_size == 0) how.virtual_size = kSectorSize;
  return Image::measure(how, 0).status();
}

Status read_source_options(const Invocation& invocation, SourceOptions* to, const char* snapshot, const char* format) {
  to->snapshot = invocation.text(snapshot);
  to->format = invocation.text(format);
  to->force_share = invocation.flag("force-share");
  if (to->format.empty() || to->format == "raw" || to->format == "fvd") return Status::ok();
  return {Code::kInvalid, "the format of a disk is raw or fvd, not \"" + to->format + "\""};
}

std::string exact_size(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " bytes";
  return human_bytes(bytes) + " (" + std::to_string(bytes) + " bytes)";
}

}  // namespace fvd::cli
