#include "support/sparse_bytes.h"

#include <algorithm>
#include <cstring>

namespace fvd::test {

SparseBytes::Page& SparseBytes::page_for_write(std::uint64_t number) {
  auto& page = pages_[number];
  if (!page) {
    page = std::make_shared<Page>();
  } else if (page.use_count() > 1) {
    page = std::make_shared<Page>(*page);
  }
  return *page;
}

void SparseBytes::read(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const std::uint64_t in_page = offset % kPageSize;
    const std::size_t n = std::min<std::size_t>(out.size(), kPageSize - in_page);
    const auto it = pages_.find(offset / kPageSize);
    if (it == pages_.end()) {
      std::memset(out.data(), 0, n);
    } else {
      std::memcpy(out.data(), it->second->data() + in_page, n);
    }
    out = out.subspan(n);
    offset += n;
  }
}

void SparseBytes::write(std::uint64_t offset, std::span<const std::byte> data) {
  size_ = std::max(size_, offset + data.size());
  while (!data.empty()) {
    const std::uint64_t in_page = offset % kPageSize;
    const std::size_t n = std::min<std::size_t>(data.size(), kPageSize - in_page);
    std::memcpy(page_for_write(offset / kPageSize).data() + in_page, data.data(), n);
    data = data.subspan(n);
    offset += n;
  }
}

void SparseBytes::zero(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = offset + length;
  auto it = pages_.lower_bound(offset / kPageSize);
  while (it != pages_.end() && it->first * kPageSize < end) {
    const std::uint64_t start = it->first * kPageSize;
    if (start >= offset && start + kPageSize <= end) {
      it = pages_.erase(it);
      continue;
    }
    const std::uint64_t from = std::max(offset, start);
    const std::uint64_t to = std::min(end, start + kPageSize);
    std::memset(page_for_write(it->first).data() + (from - start), 0, to - from);
    ++it;
  }
}

void SparseBytes::allocate(std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return;
  for (std::uint64_t n = offset / kPageSize; n * kPageSize < offset + length; ++n) {
    auto& page = pages_[n];
    if (!page) page = std::make_shared<Page>();
  }
}

void SparseBytes::truncate(std::uint64_t size) {
  if (size < size_) zero(size, size_ - size);
  size_ = size;
}

std::uint64_t SparseBytes::missing(std::uint64_t offset, std::uint64_t length) const {
  if (length == 0) return 0;
  const std::uint64_t first = offset / kPageSize;
  const std::uint64_t last = (offset + length - 1) / kPageSize;
  std::uint64_t present = 0;
  for (auto it = pages_.lower_bound(first); it != pages_.end() && it->first <= last; ++it) ++present;
  return (last - first + 1 - present) * kPageSize;
}

std::uint64_t SparseBytes::seek_data(std::uint64_t offset, std::uint64_t end) const {
  const auto it = pages_.lower_bound(offset / kPageSize);
  if (it == pages_.end()) return end;
  return std::min(end, std::max(offset, it->first * kPageSize));
}

std::uint64_t SparseBytes::seek_hole(std::uint64_t offset, std::uint64_t end) const {
  while (offset < end && pages_.contains(offset / kPageSize)) offset = (offset / kPageSize + 1) * kPageSize;
  return std::min(end, offset);
}

}  // namespace fvd::test
