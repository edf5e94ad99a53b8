// fvd measure: what a new image takes on the host.
#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <ostream>

#include "cli/command.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/size.h"
#include "cli/source.h"

namespace fvd::cli {
namespace {

void declare(po::options_description& options) {
  auto add = options.add_options();
  add("size", po::value<std::string>()->value_name("SIZE"), "measure an empty disk of SIZE bytes instead of SRC");
  add("snapshot,s", po::value<std::string>()->value_name("SNAPSHOT"), "take this snapshot (default: current-state)");
  add("format,f", po::value<std::string>()->value_name("FORMAT"),
      "format of SRC: raw or fvd (default: what its first bytes say)");
  add("output-format,O", po::value<std::string>()->value_name("FORMAT"), "format to measure: fvd (the default) or raw");
  add("chunk-size", po::value<std::string>()->value_name("N"), "as in fvd create");
  add("json", po::bool_switch(), "print JSON, sizes in bytes");
  declare_force_share(options);
}

// Chunks of that size that hold data, by the extents of the disk.
Result<std::uint64_t> data_chunks(StateReader& state, std::uint64_t chunk_size, Progress& progress) {
  Progress::Part part(progress, {}, state.virtual_size());
  std::uint64_t chunks = 0;
  std::uint64_t counted = 0;  // chunks before this one are
  for (std::uint64_t at = 0; at < state.virtual_size();) {
    const auto extent = state.extent(at);
    if (!extent) return extent.status();
    if (extent->data) {
      const std::uint64_t first = std::max(counted, at / chunk_size);
      counted = std::max(counted, (at + extent->length + chunk_size - 1) / chunk_size);
      chunks += counted - std::min(first, counted);
    }
    at += extent->length;
    part.set(at, state.virtual_size());
  }
  return chunks;
}

int run(const Invocation& invocation) {
  const Streams& streams = invocation.streams;
  const auto usage = [&](const std::string& what) { return usage_error(streams, invocation.command, what); };
  const bool by_size = invocation.options.count("size") != 0;
  if (invocation.operands.empty() && !by_size) return usage("too few arguments: give SRC or --size");
  if (!invocation.operands.empty() && by_size) return usage("SRC and --size exclude each other");
  for (const char* name : {"snapshot", "format"}) {
    if (by_size && invocation.options.count(name) != 0) return usage(std::string("--") + name + " goes with SRC");
  }
  const std::string format = invocation.text("output-format");
  if (!format.empty() && format != "raw" && format != "fvd") return usage("-O is raw or fvd, not \"" + format + "\"");
  CreateOptions how;
  if (const Status s = read_layout(invocation, &how); !s) return usage(s.message());
  std::string name = "--size";
  std::unique_ptr<Source> source;
  if (by_size) {
    const auto size = parse_size(invocation.text("size"));
    if (!size) return usage(size.status().message());
    how.virtual_size = *size;
    if (*size == 0) return usage("a disk has at least 512 bytes");
    if (const Status s = check_layout(how); format != "raw" && !s) return usage(s.message());
  } else {
    name = invocation.operands[0];
    SourceOptions from;
    if (const Status s = read_source_options(invocation, &from); !s) return usage(s.message());
    auto opened = Source::open(name, from);
    if (!opened) return fail(streams, name, opened.status());
    source = std::move(*opened);
    how.virtual_size = source->size();
  }
  ImageMeasure measure{how.virtual_size, how.virtual_size};
  if (format != "raw") {
    // The options are checked before anything divides by them.
    auto made = Image::measure(how, 0);
    if (made && source != nullptr) {
      const auto chunks = data_chunks(source->state(), how.chunk_size, invocation.progress);
      if (!chunks) return fail(streams, name, chunks.status());
      made = Image::measure(how, *chunks);
    }
    if (!made) return fail(streams, name, made.status());
    measure = *made;
  }
  if (invocation.flag("json")) {
    streams.out << measure_as_json(measure);
  } else {
    streams.out << "required size: " << exact_size(measure.required)
                << "\nfully allocated size: " << exact_size(measure.fully_allocated) << '\n';
  }
  return kSuccess;
}

}  // namespace

const Command kMeasure{
    .name = "measure",
    .synopsis = "[-O FORMAT] [--chunk-size N] [--json] {--size SIZE | [-s SNAPSHOT] [-f FORMAT] [-U] SRC}",
    .summary = "tell how large an image would be at most",
    .example = "fvd measure --size 20G\n  fvd measure -s s1 disk.fvd",
    .min_operands = 0,
    .max_operands = 1,
    .declare = declare,
    .run = run,
};

}  // namespace fvd::cli
