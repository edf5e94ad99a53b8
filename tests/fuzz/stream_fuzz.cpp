// Any bytes as a stream: receiving them must answer, never crash, hang or take memory that they do not warrant, and
// leave an image that the checker finds sound, with a snapshot more or as it was. CRCs, sequence, totals and the
// identity of OLD are made right first, since a fuzzer does not find them.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/crc32c.h"
#include "base/endian.h"
#include "check/check.h"
#include "format/stream.h"
#include "fvd/stream.h"
#include "support/memory_file.h"

namespace {

using Bytes = std::vector<std::byte>;
using fvd::format::StreamHeader;
using fvd::format::StreamRecord;
using fvd::format::StreamRecordType;
using fvd::format::StreamTotals;

constexpr fvd::format::StreamIdentity kOld{1U << 20, 1000000000, 0, 1};
constexpr std::uint64_t kLargest = 1U << 30;  // disks in bytes: a larger one takes time and shows nothing more

void demand(bool condition) {
  if (!condition) std::abort();
}

fvd::OpenOptions quiet() {
  fvd::OpenOptions options;
  options.commit_interval = std::chrono::milliseconds(0);
  options.completion_idle = std::chrono::milliseconds(0);
  return options;
}

// An image with data and a snapshot of a known identity, so that incremental streams find what they are relative to.
Bytes make_image() {
  fvd::test::MemoryFile file{Bytes()};
  fvd::CreateOptions create;
  create.virtual_size = 1U << 20;
  create.chunk_size = 1U << 16;
  create.journal_half_size = 8192;
  demand(fvd::Image::create_on(file, create).is_ok());
  auto owned = std::make_unique<fvd::test::MemoryFile>(file.bytes());
  fvd::test::MemoryFile& live = *owned;
  auto image = fvd::Image::open_on(std::move(owned), quiet());
  demand(image.is_ok());
  fvd::ImportOptions old;
  old.name = "old";
  old.virtual_size = kOld.virtual_size;
  old.created_seconds = kOld.created_seconds;
  auto import = (*image)->import_snapshot(old);
  demand(import.is_ok());
  demand((*import)->write(70000, Bytes(50000, std::byte{7})).is_ok());
  demand((*import)->commit().is_ok());
  demand((*image)->snapshot_goto("old").is_ok());
  demand((*image)->write(0, Bytes(100000, std::byte{9})).is_ok());
  import->reset();
  demand((*image)->close().is_ok());
  Bytes bytes = live.bytes();
  bytes.resize(bytes.size() + 40 * create.chunk_size);  // free chunks, so that the file need not grow by its long steps
  return bytes;
}

// False for a stream that is not worth the time.
bool seal(Bytes& bytes) {
  const auto length = StreamHeader::length_of(bytes);
  if (!length || *length > bytes.size()) return true;
  const std::span<std::byte> header = std::span(bytes).first(*length);
  if (fvd::load_le<std::uint64_t>(header.data() + 56) > kLargest) return false;
  if ((std::to_integer<unsigned>(header[24]) & 1U) != 0) kOld.encode(header.data() + 80);
  fvd::store_le(header.data() + 16, StreamHeader::crc_of(header));
  StreamTotals totals;
  totals.crc = fvd::crc32c(header);
  std::uint32_t previous = StreamHeader::crc_of(header);
  for (std::span<std::byte> rest = std::span(bytes).subspan(*length); rest.size() >= StreamRecord::kSize;) {
    auto record = StreamRecord::decode(rest.first(StreamRecord::kSize));
    if (!record) break;
    const std::size_t size = StreamRecord::kSize + record->payload_size();
    if (size > rest.size()) break;
    const std::span<std::byte> whole = rest.first(size);
    if (record->type == StreamRecordType::kEnd) totals.encode(whole.data() + StreamRecord::kSize);
    record->sequence = totals.records + 1;
    record->previous_crc = previous;
    previous = record->seal(whole);
    ++totals.records;
    (record->type == StreamRecordType::kData ? totals.data_bytes : totals.zero_bytes) += record->length;
    totals.crc = fvd::crc32c(whole, totals.crc);
    rest = rest.subspan(size);
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Bytes kImage = make_image();
  Bytes stream(size);
  if (size != 0) std::memcpy(stream.data(), data, size);
  if (!seal(stream)) return 0;
  auto owned = std::make_unique<fvd::test::MemoryFile>(kImage);
  fvd::test::MemoryFile& live = *owned;
  auto image = fvd::Image::open_on(std::move(owned), quiet());
  demand(image.is_ok());
  std::size_t at = 0;
  const fvd::StreamSource source = [&](std::span<std::byte> out) -> fvd::Result<std::size_t> {
    const std::size_t n = std::min(out.size(), stream.size() - at);
    std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(at), n, out.begin());
    at += n;
    return n;
  };
  const bool received = fvd::receive_snapshot(**image, source, {}).is_ok();
  demand((*image)->snapshots().size() == (received ? 2U : 1U));
  demand((*image)->close().is_ok());
  fvd::test::MemoryFile after(live.bytes());
  const auto report = fvd::check_image(after);
  demand(report.is_ok() && report->findings.empty());
  return 0;
}
