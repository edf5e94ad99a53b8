// fvd send: a snapshot as a stream on standard output.
#include <boost/program_options/value_semantic.hpp>
#include <ostream>

#include "cli/command.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "fvd/stream.h"

namespace fvd::cli {
namespace {

constexpr std::size_t kPiece = 1 << 20;  // bytes

void declare(po::options_description& options) {
  options.add_options()("incremental,i", po::value<std::string>()->value_name("OLD"),
                        "send only what changed since snapshot OLD, which the receiving image must have");
  declare_force_share(options);
}

Result<SnapshotId> id_of(const Image& image, const std::string& name) {
  const auto found = image.find_snapshot(name);
  if (!found) return Status(Code::kNotFound, "there is no snapshot \"" + name + "\"");
  return found->id;
}

// Ends early, and well, when nobody takes the stream any more.
Status copy_out(SendStream& stream, std::ostream& out, Progress& progress) {
  const Interruptible signals;
  Progress::Part part(progress, {}, stream.virtual_size());
  std::vector<std::byte> buffer(kPiece);
  for (;;) {
    const auto count = stream.read(buffer);
    if (!count) return count.status();
    if (*count == 0) return Status::ok();
    out.write(reinterpret_cast<const char*>(buffer.data()), static_cast<std::streamsize>(*count));
    if (!out) return Status::ok();
    part.set(stream.position(), stream.virtual_size());
    if (Status s = interrupted(); !s) return s;
  }
}

int run(const Invocation& invocation) {
  const std::string& path = invocation.operands[0];
  std::ostream& out = invocation.streams.out;
  if (is_terminal(out)) {
    return usage_error(invocation.streams, invocation.command,
                       "standard output is a terminal; redirect it to a file, or pipe it into fvd receive");
  }
  auto image = open_to_read(invocation);
  if (!image) return fail(invocation.streams, path, image.status());
  const auto snapshot = id_of(**image, invocation.operands[1]);
  if (!snapshot) return fail(invocation.streams, path, snapshot.status());
  SnapshotId since = 0;
  if (const std::string old = invocation.text("incremental"); invocation.options.count("incremental") != 0) {
    const auto found = id_of(**image, old);
    if (!found) return fail(invocation.streams, path, found.status());
    since = *found;
  }
  auto stream = SendStream::open(**image, *snapshot, since);
  if (!stream) return fail(invocation.streams, path, stream.status());
  const Status sent = copy_out(**stream, out, invocation.progress);
  if (!sent) return fail(invocation.streams, path, sent);
  return out ? kSuccess : kFailure;  // run() says so
}

}  // namespace

const Command kSend{
    .name = "send",
    .synopsis = "[-i OLD] [-U] IMAGE SNAPSHOT",
    .summary = "write a snapshot, or what changed since another, as a stream to standard output",
    .example = "fvd send -i s1 disk.fvd s2 | ssh backup fvd receive copy.fvd",
    .min_operands = 2,
    .max_operands = 2,
    .declare = declare,
    .run = run,
};

}  // namespace fvd::cli
