// fvd resize: the size of current-state.
#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <ostream>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "cli/command.h"
#include "cli/pieces.h"
#include "cli/progress.h"
#include "cli/size.h"
#include "cli/source.h"

namespace fvd::cli {
namespace {

void declare(po::options_description& options) {
  options.add_options()("shrink", po::bool_switch(), "allow a smaller size, if nothing but zeros is cut off");
  options.add_options()("force", po::bool_switch(), "with --shrink: cut off data too; snapshots keep it");
}

// Bytes of "20G", "+2G" (more than `now`), "-512M" (less).
Result<std::uint64_t> new_size(const std::string& text, std::uint64_t now) {
  const bool relative = text.starts_with('+') || text.starts_with('-');
  const auto amount = parse_size(relative ? text.substr(1) : text);
  if (!amount) return amount;
  std::uint64_t size = *amount;
  if (text.starts_with('+')) {
    const auto sum = checked_add(now, *amount);
    if (!sum) return Status(Code::kInvalid, "the size " + text + " is too large");
    size = *sum;
  } else if (text.starts_with('-')) {
    if (*amount >= now) return Status(Code::kInvalid, "the disk has " + exact_size(now) + ", less would be nothing");
    size = now - *amount;
  }
  if (size > ~std::uint64_t{0} - kSectorSize) return Status(Code::kInvalid, "the size " + text + " is too large");
  return align_up(size, kSectorSize);
}

// First byte from `offset` on that is not zero; the end of the disk when there is none.
Result<std::uint64_t> first_data(Image& image, std::uint64_t offset, Progress& progress) {
  std::vector<std::byte> buffer(kPieceBytes);
  const std::uint64_t begin = offset;
  const std::uint64_t end = image.virtual_size();
  Progress::Part part(progress, {}, end - begin);
  while (offset < end) {
    part.set(offset - begin, end - begin);
    const auto extent = image.extent(offset);
    if (!extent) return extent.status();
    if (!extent->data) {
      offset += extent->length;
      continue;
    }
    const auto bytes = std::span(buffer).first(std::min<std::uint64_t>(extent->length, buffer.size()));
    if (const Status s = read_padded(image, offset, bytes); !s) return s;
    if (!is_zero(bytes)) {
      const auto found = std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; });
      return offset + static_cast<std::uint64_t>(found - bytes.begin());
    }
    offset += bytes.size();
  }
  return end;
}

Status may_shrink(const Invocation& invocation, Image& image, std::uint64_t size) {
  if (!invocation.flag("shrink")) {
    return {Code::kNotPermitted, "the disk has " + exact_size(image.virtual_size()) +
                                     "; a smaller size cuts its end off, and needs --shrink"};
  }
  if (invocation.flag("force")) return Status::ok();
  const auto data = first_data(image, size, invocation.progress);
  if (!data) return data.status();
  if (*data == image.virtual_size()) return Status::ok();
  return {Code::kNotPermitted, "there is data at offset " + std::to_string(*data) +
                                   ", past the new end; make file systems and partitions smaller first, or give it up "
                                   "with --force"};
}

int run(const Invocation& invocation) {
  const std::string& text = invocation.operands[1];
  const bool relative = text.starts_with('+') || text.starts_with('-');
  const auto amount = parse_size(relative ? text.substr(1) : text);
  if (!amount) return usage_error(invocation.streams, invocation.command, amount.status().message());
  if (!relative && *amount == 0) {
    return usage_error(invocation.streams, invocation.command, "a disk has at least 512 bytes");
  }
  if (invocation.flag("force") && !invocation.flag("shrink")) {
    return usage_error(invocation.streams, invocation.command, "--force goes with --shrink");
  }
  std::uint64_t made = 0;
  Status unfit;  // for a disk in chunks of this size: nothing is wrong with the image
  const auto resize = [&](Image& image) -> Status {
    const auto size = new_size(text, image.virtual_size());
    if (!size) {
      unfit = size.status();
      return Status::ok();
    }
    made = *size;
    if (*size < image.virtual_size()) {
      if (Status s = may_shrink(invocation, image, *size); !s) return s;
    }
    const Progress::Part part(invocation.progress);
    Status s = image.resize(*size, true);
    if (s.code() != Code::kInvalid || s.system_error() != 0) return s;
    unfit = std::move(s);
    return Status::ok();
  };
  const int status = with_image(invocation, resize, OwnProgress::kYes);
  if (status != kSuccess) return status;
  if (!unfit) return usage_error(invocation.streams, invocation.command, unfit.message());
  invocation.streams.out << "resized " << one_line(invocation.operands[0]) << ": " << exact_size(made) << '\n';
  return kSuccess;
}

}  // namespace

const Command kResize{
    .name = "resize",
    .synopsis = "[--shrink [--force]] IMAGE [+|-]SIZE",
    .summary = "make the disk larger, or with care smaller; snapshots keep their size",
    .example = "fvd resize disk.fvd +10G",
    .min_operands = 2,
    .max_operands = 2,
    .declare = declare,
    .run = run,
};

}  // namespace fvd::cli
