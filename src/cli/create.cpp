// fvd create: a new image.
#include <boost/program_options/value_semantic.hpp>
#include <ostream>

#include "cli/command.h"
#include "cli/progress.h"
#include "cli/size.h"

namespace fvd::cli {
namespace {

void declare(po::options_description& options) {
  auto add = options.add_options();
  add("base,b", po::value<std::string>()->value_name("BASE"),
      "show BASE, a disk image that is never written, through wherever the new image holds nothing");
  add("format,F", po::value<std::string>()->value_name("FORMAT"), "format of BASE: raw (the default)");
  add("chunk-size", po::value<std::string>()->value_name("N"),
      "unit of allocation: a power of two from 64K to 64M (default: 1M)");
  add("block-size", po::value<std::string>()->value_name("N"),
      "unit of copy-on-write: a power of two from 512 to the chunk size, at least a 16,384th of it (default: 4K)");
  add("force", po::bool_switch(), "replace IMAGE if it exists; use a block device whatever it holds");
}

int run(const Invocation& invocation) {
  const std::string& path = invocation.operands[0];
  CreateOptions how;
  how.base_path = invocation.text("base");
  how.base_format = invocation.text("format");
  how.overwrite = invocation.flag("force");
  if (invocation.operands.size() > 1) {
    const auto size = parse_size(invocation.operands[1]);
    if (!size) return usage_error(invocation.streams, invocation.command, size.status().message());
    if (*size == 0) return usage_error(invocation.streams, invocation.command, "a disk has at least 512 bytes");
    how.virtual_size = *size;
  } else if (how.base_path.empty()) {
    return usage_error(invocation.streams, invocation.command, "SIZE is missing (only with a base can it be left out)");
  }
  if (how.base_path.empty() && !how.base_format.empty()) {
    return usage_error(invocation.streams, invocation.command, "--format is the format of a base, and there is none");
  }
  if (const Status s = read_layout(invocation, &how); !s) {
    return usage_error(invocation.streams, invocation.command, s.message());
  }
  const Status created = [&] {
    const Progress::Part part(invocation.progress);
    return Image::create(path, how);
  }();
  if (!created) return fail(invocation.streams, path, created);
  // What was made, not what was asked for: sizes are rounded, and may come from the base.
  OpenOptions reading;
  reading.read_only = true;
  auto image = Image::open(path, reading);
  if (!image) return fail(invocation.streams, path, image.status());
  const ImageInfo made = (*image)->info();
  invocation.streams.out << "created " << one_line(path) << ": " << exact_size(made.virtual_size);
  if (!made.base_path.empty()) invocation.streams.out << " on base image " << one_line(made.base_path);
  invocation.streams.out << '\n';
  return kSuccess;
}

}  // namespace

const Command kCreate{
    .name = "create",
    .synopsis = "[-b BASE [-F FORMAT]] [--chunk-size N] [--block-size N] [--force] IMAGE [SIZE]",
    .summary = "make a new image of SIZE bytes (K, M, G, T, P and E are powers of 1024)",
    .example = "fvd create disk.fvd 20G",
    .min_operands = 1,
    .max_operands = 2,
    .declare = declare,
    .run = run,
};

}  // namespace fvd::cli
