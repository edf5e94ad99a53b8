#include "map/lookup_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/checked.h"

namespace fvd {
namespace {

constexpr std::size_t kEntriesPerByte = std::size_t{8} * LookupTable::kEntriesPerGroup;  // of what was written

}  // namespace

LookupTable::~LookupTable() {
  if (entries_ != nullptr) ::munmap(entries_, mapped_);
}

Status LookupTable::resize(std::uint32_t size) {
  const auto words_for = [](std::uint32_t entries) { return (std::size_t{entries} / kEntriesPerByte + 1) * 2; };
  decltype(shared_) shared(static_cast<std::uint64_t*>(std::calloc(words_for(size), sizeof(std::uint64_t))));
  if (!shared) return Status::from_errno(ENOMEM, "get memory for", "the lookup table");
  const std::size_t bytes = align_up(std::uint64_t{size} * sizeof(std::uint32_t) + 1, 4096);
  if (entries_ == nullptr) {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return Status::from_errno(errno, "map memory for", "the lookup table");
    entries_ = static_cast<std::uint32_t*>(memory);
    mapped_ = bytes;
  } else {
    if (size < size_) std::memset(entries_ + size, 0, (size_ - size) * sizeof(std::uint32_t));
    if (bytes != mapped_) {
      void* memory = ::mremap(entries_, mapped_, bytes, MREMAP_MAYMOVE);
      if (memory == MAP_FAILED) return Status::from_errno(errno, "map memory for", "the lookup table");
      entries_ = static_cast<std::uint32_t*>(memory);
      mapped_ = bytes;
    }
  }
  if (shared_) std::copy_n(shared_.get(), std::min(words_for(size), words_for(size_)), shared.get());
  shared_ = std::move(shared);
  size_ = size;
  const std::uint32_t groups = static_cast<std::uint32_t>(div_ceil(size, kEntriesPerGroup));
  written_.resize(div_ceil(groups, 8));
  if (groups % 8 != 0) written_.back() &= static_cast<std::uint8_t>((1U << groups % 8) - 1);
  std::uint32_t written = 0;
  for (const std::uint8_t bits : written_) written += static_cast<std::uint32_t>(std::popcount(bits));
  groups_.store(written);
  return Status::ok();
}

void LookupTable::share_all() {
  static_assert(kEntriesPerByte == 2 * 64);
  for (std::size_t i = 0; i < written_.size(); ++i) {
    if (written_[i] == 0) continue;
    for (const std::size_t word : {2 * i, 2 * i + 1}) {
      std::atomic_ref(shared_[word]).store(~std::uint64_t{0}, std::memory_order_relaxed);
    }
  }
}

}  // namespace fvd
