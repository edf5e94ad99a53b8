// fvd receive: builds the snapshot of a stream from standard input.
#include <boost/program_options/value_semantic.hpp>
#include <istream>
#include <ostream>

#include "cli/command.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "fvd/stream.h"

namespace fvd::cli {
namespace {

void declare(po::options_description& options) {
  options.add_options()("name", po::value<std::string>()->value_name("NAME"),
                        "name the snapshot NAME instead of what it is called in the stream");
}

int run(const Invocation& invocation) {
  if (is_terminal(invocation.streams.in)) {
    return usage_error(invocation.streams, invocation.command,
                       "standard input is a terminal; redirect it from a file, or pipe fvd send into it");
  }
  ReceiveOptions how;
  how.name = invocation.text("name");
  std::istream& in = invocation.streams.in;
  const StreamSource source = [&in](std::span<std::byte> out) -> Result<std::size_t> {
    in.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size()));
    if (in.bad()) return Status(Code::kIo, "standard input cannot be read");
    if (Status s = interrupted(); !s) return s;
    return static_cast<std::size_t>(in.gcount());
  };
  std::string line;
  const auto receive = [&](Image& image) -> Status {
    Result<SnapshotId> id = Status(Code::kIo, "");
    {
      const Interruptible signals;
      Progress::Part part(invocation.progress);
      how.progress = [&part](std::uint64_t done, std::uint64_t total) { part.set(done, total); };
      id = receive_snapshot(image, source, how);
    }
    if (!id) {
      const Status& why = id.status();
      if (image.read_only()) return why;
      const std::string message = "image " + invocation.operands[0] + " is left as it was: " + why.message();
      // The advice of other commands does not fit.
      if (why.code() != Code::kExists) return {why.code(), message, why.system_error()};
      const bool is_there = why.message().find("in the image already") != std::string::npos;
      return {Code::kInvalid, message + (is_there ? "" : "; choose another name with --name")};
    }
    const auto made = image.find_snapshot(*id);
    const auto parent = image.find_snapshot(made->parent);
    line = "received snapshot " + one_line(made->name) + ": " + exact_size(made->virtual_size) +
           (parent ? ", child of " + one_line(parent->name) : std::string(", without a parent"));
    return Status::ok();
  };
  const int status = with_image(invocation, receive, OwnProgress::kYes);
  if (status == kSuccess) invocation.streams.out << line << '\n';
  return status;
}

}  // namespace

const Command kReceive{
    .name = "receive",
    .synopsis = "[--name NAME] IMAGE",
    .summary = "build in IMAGE the snapshot whose stream comes from standard input",
    .example = "fvd send disk.fvd s1 | fvd receive copy.fvd",
    .min_operands = 1,
    .max_operands = 1,
    .declare = declare,
    .run = run,
};

}  // namespace fvd::cli
