#include "fuse/read_buffer.h"

#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "fuse/workers.h"

namespace fvdfs {
namespace {

constexpr std::size_t kAlignment = 4096;
constexpr std::size_t kLarge = 1U << 20;

AlignedMemory allocate(std::size_t size) {
  auto* memory =
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, (size + kAlignment - 1) / kAlignment * kAlignment));
  if (memory == nullptr) throw std::bad_alloc();
  return AlignedMemory(memory);
}

std::mutex g_mutex;
std::vector<AlignedMemory> g_large;  // free ones, each kLarge long; under g_mutex

}  // namespace

void FreeMemory::operator()(std::byte* memory) const { std::free(memory); }

ReadBuffer::ReadBuffer(std::size_t size) : size_(size) {
  if (const std::span<std::byte> spare = spare_memory(); size <= spare.size()) {
    data_ = spare.data();
    return;
  }
  large_size_ = size <= kLarge ? kLarge : size;
  if (large_size_ == kLarge) {
    const std::lock_guard lock(g_mutex);
    if (!g_large.empty()) {
      large_ = std::move(g_large.back());
      g_large.pop_back();
    }
  }
  if (!large_) large_ = allocate(large_size_);
  data_ = large_.get();
}

ReadBuffer::~ReadBuffer() {
  if (!large_ || large_size_ != kLarge) return;
  const std::lock_guard lock(g_mutex);
  try {
    g_large.push_back(std::move(large_));
  } catch (const std::bad_alloc&) {
    large_.reset();
  }
}

}  // namespace fvdfs
