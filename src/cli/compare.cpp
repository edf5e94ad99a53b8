// fvd compare: whether two disks hold the same. Its exit statuses are those of `qemu-img compare`.
#include <algorithm>
#include <atomic>
#include <boost/program_options/value_semantic.hpp>
#include <cstring>
#include <limits>
#include <ostream>
#include <vector>

#include "cli/command.h"
#include "cli/pieces.h"
#include "cli/source.h"

namespace fvd::cli {
namespace {

constexpr int kDiffer = 1;
constexpr int kCannotOpen = 2;
constexpr int kCannotRead = 4;
constexpr std::uint64_t kNowhere = std::numeric_limits<std::uint64_t>::max();

void declare(po::options_description& options) {
  auto add = options.add_options();
  add("snapshot,s", po::value<std::string>()->value_name("SNAPSHOT"),
      "take this snapshot of A (default: current-state)");
  add("other-snapshot,S", po::value<std::string>()->value_name("SNAPSHOT"), "take this snapshot of B");
  add("format,f", po::value<std::string>()->value_name("FORMAT"),
      "format of A: raw or fvd (default: what its first bytes say)");
  add("other-format,F", po::value<std::string>()->value_name("FORMAT"), "format of B");
  add("strict", po::bool_switch(), "disks of different size differ, though the rest be zeros");
  declare_force_share(options);
}

// What both disks have to say from `offset` on; past its end a disk is a hole.
Result<Extent> next_of_both(const Source& a, const Source& b, std::uint64_t offset, std::uint64_t size) {
  Extent both{offset, size - offset, false};
  for (const Source* one : {&a, &b}) {
    if (offset >= one->size()) continue;
    const auto extent = one->state().extent(offset);
    if (!extent) return extent;
    both.length = std::min(both.length, extent->length);
    both.data = both.data || extent->data;
  }
  return both;
}

// Offset of the first byte that differs; kNowhere when none does.
Result<std::uint64_t> first_difference(const Source& a, const Source& b, std::uint64_t size, Progress::Part& progress) {
  std::atomic<std::uint64_t> first{kNowhere};
  const auto next = [&](std::uint64_t offset) { return next_of_both(a, b, offset, size); };
  const auto work = [&](const Extent& piece, std::span<std::byte> buffer) -> Status {
    if (!piece.data) return Status::ok();
    thread_local std::vector<std::byte> other_buffer(kPieceBytes);
    const std::span<std::byte> one = buffer.first(piece.length);
    const std::span<std::byte> other = std::span(other_buffer).first(piece.length);
    if (Status s = read_padded(a.state(), piece.offset, one); !s) return s;
    if (Status s = read_padded(b.state(), piece.offset, other); !s) return s;
    if (std::memcmp(one.data(), other.data(), one.size()) == 0) return Status::ok();
    const std::uint64_t at =
        piece.offset +
        static_cast<std::uint64_t>(std::mismatch(one.begin(), one.end(), other.begin()).first - one.begin());
    for (std::uint64_t seen = first.load(); at < seen && !first.compare_exchange_weak(seen, at);) {
    }
    return {Code::kInvalid, "they differ"};  // no piece after this one is needed, those before are under way
  };
  const Status s = in_pieces(size, next, progress, work);
  if (!s && first.load() == kNowhere) return s;
  return first.load();
}

int run(const Invocation& invocation) {
  const Streams& streams = invocation.streams;
  const std::array<std::array<const char*, 2>, 2> names{{{"snapshot", "format"}, {"other-snapshot", "other-format"}}};
  std::array<std::unique_ptr<Source>, 2> disks;
  for (std::size_t i = 0; i < disks.size(); ++i) {
    SourceOptions how;
    if (const Status s = read_source_options(invocation, &how, names[i][0], names[i][1]); !s) {
      return usage_error(streams, invocation.command, s.message());
    }
    auto opened = Source::open(invocation.operands[i], how);
    if (!opened) {
      (void)fail(streams, invocation.operands[i], opened.status());
      return kCannotOpen;
    }
    disks[i] = std::move(*opened);
  }
  const std::uint64_t shorter = std::min(disks[0]->size(), disks[1]->size());
  const std::uint64_t longer = std::max(disks[0]->size(), disks[1]->size());
  std::ostream& out = streams.out;
  if (shorter != longer && invocation.flag("strict")) {
    out << "The disks differ in size: " << disks[0]->size() << " and " << disks[1]->size() << " bytes.\n";
    return kDiffer;
  }
  const auto difference = [&] {
    const Interruptible signals;
    Progress::Part part(invocation.progress, {}, longer);
    return first_difference(*disks[0], *disks[1], longer, part);
  }();
  if (!difference) {
    (void)fail(streams, invocation.operands[0], difference.status());
    return kCannotRead;
  }
  if (*difference != kNowhere) {
    out << "The disks differ: first at offset " << *difference
        << (*difference >= shorter ? ", past the end of the smaller one" : "") << ".\n";
    return kDiffer;
  }
  out << "The disks are identical" << (shorter != longer ? ", but for zeros at the end of the larger one" : "")
      << ".\n";
  return kSuccess;
}

}  // namespace

const Command kCompare{
    .name = "compare",
    .synopsis = "[-s SNAPSHOT] [-S SNAPSHOT] [-f FORMAT] [-F FORMAT] [--strict] [-U] A B",
    .summary = "compare two disks; exit 0 identical, 1 different, 2 and more: failure",
    .example = "fvd compare -s s1 disk.fvd s1.raw\n  fvd compare -s s1 -S s2 disk.fvd disk.fvd",
    .min_operands = 2,
    .max_operands = 2,
    .declare = declare,
    .run = run,
};

}  // namespace fvd::cli
