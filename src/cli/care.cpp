// fvd compact and fvd flatten: what keeps an image in shape.
#include <boost/program_options/value_semantic.hpp>
#include <ostream>

#include "cli/command.h"
#include "cli/progress.h"

namespace fvd::cli {
namespace {

void declare_nothing(po::options_description&) {}

// Runs image.*work() with a bar.
Status with_progress(const Invocation& invocation, Image& image, Status (Image::*work)(const Image::WorkProgress&)) {
  const Interruptible signals;
  Progress::Part part(invocation.progress);
  const Status s = (image.*work)([&](std::uint64_t done, std::uint64_t total) {
    part.set(done, total);
    return interrupted().is_ok();
  });
  const Status end = interrupted();
  return s.code() == Code::kBusy && !end ? end : s;
}

int compact(const Invocation& invocation) {
  std::uint64_t before = 0;
  int status = with_image(
      invocation,
      [&](Image& image) {
        before = image.info().host_allocated;
        return with_progress(invocation, image, &Image::compact);
      },
      OwnProgress::kYes);
  if (status != kSuccess) return status;
  // Closing gives back still more.
  OpenOptions reading;
  reading.read_only = true;
  const std::string& path = invocation.operands[0];
  auto image = Image::open(path, reading);
  if (!image) return fail(invocation.streams, path, image.status());
  invocation.streams.out << "compacted " << one_line(path) << ": " << exact_size((*image)->info().host_allocated)
                         << " on the host, before " << exact_size(before) << '\n';
  return kSuccess;
}

int flatten(const Invocation& invocation) {
  std::string base;
  const int status = with_image(
      invocation,
      [&](Image& image) {
        base = image.info().base_path;
        return base.empty() ? Status::ok() : with_progress(invocation, image, &Image::flatten);
      },
      OwnProgress::kYes);
  if (status != kSuccess) return status;
  std::ostream& out = invocation.streams.out;
  if (base.empty()) {
    out << one_line(invocation.operands[0]) << " has no base image: nothing to do\n";
  } else {
    out << "flattened " << one_line(invocation.operands[0]) << ": it does not need " << one_line(base) << " any more\n";
  }
  return kSuccess;
}

}  // namespace

const Command kCompact{
    .name = "compact",
    .synopsis = "IMAGE",
    .summary = "complete partial chunks and give all free space back to the host",
    .example = "fvd compact disk.fvd",
    .min_operands = 1,
    .max_operands = 1,
    .declare = declare_nothing,
    .run = compact,
};

const Command kFlatten{
    .name = "flatten",
    .synopsis = "IMAGE",
    .summary = "copy the base image in and cut it loose",
    .example = "fvd flatten clone.fvd",
    .min_operands = 1,
    .max_operands = 1,
    .declare = declare_nothing,
    .run = flatten,
};

}  // namespace fvd::cli
