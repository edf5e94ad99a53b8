// Any bytes as an image: check and open must answer, never crash, hang or take memory that the bytes do not warrant.
// CRCs of what the bytes place right are made right first, since a fuzzer does not find them: header, superblocks,
// the objects that these refer to, and the first batch of the journal.
#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "base/endian.h"
#include "check/check.h"
#include "format/header.h"
#include "format/superblock.h"
#include "fvd/image.h"
#include "support/memory_file.h"

namespace {

using Bytes = std::vector<std::byte>;

// Stores the CRC of [at + from, at + length) at `at + to`; does nothing where the bytes end before.
void seal(Bytes& bytes, std::uint64_t at, std::uint64_t from, std::uint64_t length, std::uint64_t to) {
  if (length < from || at > bytes.size() || length > bytes.size() - at || to + 4 > bytes.size() - at) return;
  const std::span<const std::byte> covered(bytes.data() + at + from, length - from);
  fvd::store_le(bytes.data() + at + to, fvd::crc32c(covered));
}

void seal_all(Bytes& bytes) {
  using fvd::format::kPage;
  if (bytes.size() < kPage) return;
  seal(bytes, 0, 20, kPage, 16);
  const auto header = fvd::format::Header::decode(std::span<const std::byte, kPage>(bytes.data(), kPage));
  if (!header) return;
  for (const std::uint64_t slot : header->superblock_offset) {
    if (slot > bytes.size() || bytes.size() - slot < kPage) continue;
    for (const std::uint64_t ref_at : {112, 128, 144}) {
      const auto ref = fvd::format::ObjectRef::decode(bytes.data() + slot + ref_at);
      if (ref.first_chunk == 0 || ref.first_chunk > fvd::format::kMaxChunk) continue;
      const std::uint64_t at = header->geometry().file_offset(ref.first_chunk);
      if (at > bytes.size() || ref.length < 64 || ref.length > bytes.size() - at) continue;
      seal(bytes, at, 20, ref.length, 16);
      std::memcpy(bytes.data() + slot + ref_at + 4, bytes.data() + at + 16, 4);
    }
    seal(bytes, slot, 16, kPage, 12);
    const std::uint64_t half = fvd::load_le<std::uint64_t>(bytes.data() + slot + 88) & 1;
    const std::uint64_t batch = header->journal_offset + half * header->journal_half_size;
    if (batch > bytes.size() || bytes.size() - batch < 64) continue;
    seal(bytes, batch, 12, fvd::load_le<std::uint32_t>(bytes.data() + batch + 4), 8);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(size);
  if (size != 0) std::memcpy(bytes.data(), data, size);
  seal_all(bytes);
  fvd::test::MemoryFile file(bytes);
  (void)fvd::check_image(file).is_ok();
  fvd::OpenOptions options;
  options.read_only = true;
  options.commit_interval = std::chrono::milliseconds(0);
  options.completion_idle = std::chrono::milliseconds(0);
  (void)fvd::Image::open_on(std::make_unique<fvd::test::MemoryFile>(std::move(bytes)), options).is_ok();
  return 0;
}
