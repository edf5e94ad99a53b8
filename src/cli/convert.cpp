// fvd convert: copies a state out of an image, or a raw disk into a new one.
#include <algorithm>
#include <boost/program_options/value_semantic.hpp>

#include "cli/command.h"
#include "cli/destination.h"
#include "cli/pieces.h"
#include "cli/source.h"

namespace fvd::cli {
namespace {

void declare(po::options_description& options) {
  auto add = options.add_options();
  add("snapshot,s", po::value<std::string>()->value_name("SNAPSHOT"), "copy this snapshot (default: current-state)");
  add("format,f", po::value<std::string>()->value_name("FORMAT"),
      "format of SRC: raw or fvd (default: what its first bytes say)");
  add("output-format,O", po::value<std::string>()->value_name("FORMAT"), "format of DST: raw (the default) or fvd");
  add("chunk-size", po::value<std::string>()->value_name("N"), "with -O fvd: as in fvd create");
  add("block-size", po::value<std::string>()->value_name("N"), "with -O fvd: as in fvd create");
  add("force", po::bool_switch(), "replace DST if it exists; write to a block device");
  declare_force_share(options);
}

Status copy(const Source& source, Destination& destination, Progress::Part& progress) {
  const auto next = [&](std::uint64_t offset) { return source.state().extent(offset); };
  const auto work = [&](const Extent& piece, std::span<std::byte> buffer) -> Status {
    if (!piece.data) return destination.zero(piece.offset, piece.length);
    const std::span<std::byte> bytes = buffer.first(piece.length);
    if (Status s = read_padded(source.state(), piece.offset, bytes); !s) return s;
    return in_runs(bytes, [&](std::uint64_t at, std::span<const std::byte> run, bool zero) {
      return zero ? destination.zero(piece.offset + at, run.size()) : destination.write(piece.offset + at, run);
    });
  };
  return in_pieces(source.size(), next, progress, work);
}

int run(const Invocation& invocation) {
  const Streams& streams = invocation.streams;
  DestinationOptions to;
  to.path = invocation.operands[1];
  to.force = invocation.flag("force");
  if (to.path.empty()) return usage_error(streams, invocation.command, "DST is empty");
  const std::string format = invocation.text("output-format");
  if (!format.empty() && format != "raw" && format != "fvd") {
    return usage_error(streams, invocation.command, "the format of DST is raw or fvd, not \"" + format + "\"");
  }
  to.image = format == "fvd";
  for (const char* name : {"chunk-size", "block-size"}) {
    if (!to.image && invocation.options.count(name) != 0) {
      return usage_error(streams, invocation.command, std::string("--") + name + " goes with -O fvd");
    }
  }
  CreateOptions layout;
  if (const Status s = read_layout(invocation, &layout); !s) {
    return usage_error(streams, invocation.command, s.message());
  }
  to.chunk_size = layout.chunk_size;
  to.block_size = layout.block_size;
  SourceOptions from;
  if (const Status s = read_source_options(invocation, &from); !s) {
    return usage_error(streams, invocation.command, s.message());
  }
  const auto source = Source::open(invocation.operands[0], from);
  if (!source) return fail(streams, invocation.operands[0], source.status());
  if ((*source)->reads_from(to.path)) {
    return fail(streams, to.path, {Code::kInvalid, to.path + " is what is read from; choose another destination"});
  }
  to.size = (*source)->size();
  const Interruptible signals;
  auto destination = Destination::make(to);
  if (!destination) return fail(streams, to.path, destination.status());
  const Status copied = [&] {
    Progress::Part part(invocation.progress, {}, to.size);
    return copy(**source, **destination, part);
  }();
  if (!copied) {
    return fail(streams, to.path,
                {copied.code(), "convert to " + to.path + ": " + copied.message(), copied.system_error()});
  }
  const Status finished = [&] {
    const Progress::Part part(invocation.progress, "waiting for the storage");
    return (*destination)->finish();
  }();
  return finished.is_ok() ? kSuccess : fail(streams, to.path, finished);
}

}  // namespace

const Command kConvert{
    .name = "convert",
    .synopsis = "[-s SNAPSHOT] [-f FORMAT] [-O FORMAT] [--chunk-size N] [--block-size N] [--force] [-U] SRC DST",
    .summary = "copy a state of an image out, or a raw file or device in; sparse",
    .example = "fvd convert -s s1 disk.fvd s1.raw\n  fvd convert -O fvd debian.raw disk.fvd",
    .min_operands = 2,
    .max_operands = 2,
    .declare = declare,
    .run = run,
};

}  // namespace fvd::cli
