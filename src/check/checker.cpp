#include "check/checker.h"

#include <algorithm>

#include "format/object.h"
#include "format/v1_upgrade.h"

namespace fvd {

using format::ObjectRef;

namespace {

constexpr std::size_t kMaxFindings = 1000;

}  // namespace

void Checker::corrupt(const char* structure, std::string message, Mend mend) {
  ++report_.corruptions;
  ++mends_[static_cast<std::size_t>(mend)];
  if (mend == Mend::kNothing && first_beyond_repair_.empty()) first_beyond_repair_ = message;
  if (report_.findings.size() < kMaxFindings) {
    report_.findings.push_back({CheckFinding::Kind::kCorruption, structure, std::move(message)});
  }
}

void Checker::leak(const char* structure, std::string message) {
  ++report_.leaks;
  ++mends_[static_cast<std::size_t>(Mend::kCounts)];
  if (report_.findings.size() < kMaxFindings) {
    report_.findings.push_back({CheckFinding::Kind::kLeak, structure, std::move(message)});
  }
}

Result<CheckReport> Checker::run() {
  std::array<std::byte, format::kIdentityBytes> pages;
  if (Status s = file_.read(0, pages); !s) return s;
  format::Identity identity = format::identify(pages);
  if (identity.kind != format::Identity::Kind::kVersion2) {
    if (identity.why.code() != Code::kCorrupt) return identity.why;
    corrupt("header", identity.why.message());
    return report_;
  }
  header_ = identity.header;
  geometry_ = header_.geometry();
  auto size = file_.size();
  if (!size) return size.status();
  auto allocated = file_.allocated();
  if (!allocated) return allocated.status();
  allocated_ = *allocated;
  if (*size < header_.data_offset) {
    corrupt("header", "the file ends before its data region (" + std::to_string(*size) + " bytes; the data begins at " +
                          std::to_string(header_.data_offset) + ")");
  }
  file_size_ = *size;
  limit_ = geometry_.chunks_in(*size);
  report_.chunks_total = limit_;
  const bool chosen = choose_superblock();
  if (!io_error_.is_ok()) return io_error_;
  if (!chosen) return report_;
  use_.reset(static_cast<ChunkUse*>(std::calloc(std::size_t{limit_} + 1, sizeof(ChunkUse))));
  if (use_ == nullptr) return Status(Code::kIo, "not enough memory to check a file of this size");
  check_directory();
  check_tables();
  check_front();
  check_counts();
  if (!io_error_.is_ok()) return io_error_;
  for (std::uint32_t c = 1; c <= limit_; ++c) report_.chunks_used += use_[c].is_used() ? 1 : 0;
  return report_;
}

void Checker::claim(const ObjectRef& ref, const char* structure, const std::string& what, Mend mend) {
  if (ref.is_none() || !geometry_.check_ref(ref, limit_, what)) return;  // reported when it is read
  for (std::uint32_t c = ref.first_chunk; c < ref.first_chunk + geometry_.object_chunks(ref.length); ++c) {
    if (use_[c].metadata) {
      corrupt(structure, what + " lies over another structure in chunk " + std::to_string(c), mend);
      return;
    }
    use_[c].metadata = true;
  }
}

std::optional<std::vector<std::byte>> Checker::read_object(const ObjectRef& ref, const char* structure,
                                                           const std::string& what, std::uint64_t longest, Mend mend) {
  if (Status s = geometry_.check_ref(ref, limit_, what); !s) {
    corrupt(structure, s.message(), mend);
    return std::nullopt;
  }
  if (ref.length > longest_credible(longest)) {
    corrupt(structure, what + " is longer than it can be (" + std::to_string(ref.length) + " bytes)", mend);
    return std::nullopt;
  }
  std::vector<std::byte> bytes(ref.length);
  if (!read(geometry_.file_offset(ref.first_chunk), bytes)) return std::nullopt;
  return bytes;
}

bool Checker::read(std::uint64_t offset, std::span<std::byte> out) {
  Status s = file_.read(offset, out);
  if (!s) {
    io_error_ = std::move(s);
    return false;
  }
  bytes_read_ += out.size();
  if (progress_ && bytes_to_read_ != 0) progress_(bytes_read_, std::max(bytes_read_, bytes_to_read_));
  return true;
}

void Checker::expect_to_read(const ObjectRef& ref) {
  if (!ref.is_none() && geometry_.check_ref(ref, limit_, "")) bytes_to_read_ += ref.length;
}

std::uint64_t Checker::longest_credible(std::uint64_t longest_of_kind) const {
  return format::longest_credible(longest_of_kind, allocated_);
}

}  // namespace fvd
