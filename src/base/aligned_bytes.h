// AlignedBytes: a vector of bytes that starts on a page, as direct I/O asks for.
#ifndef FVD_BASE_ALIGNED_BYTES_H_
#define FVD_BASE_ALIGNED_BYTES_H_

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

namespace fvd {

inline constexpr std::size_t kDirectAlignment = 4096;  // bytes; of memory, offset and length

template <typename T>
struct PageAllocator {
  using value_type = T;
  PageAllocator() = default;
  template <typename U>
  PageAllocator(const PageAllocator<U>&) {}  // NOLINT(google-explicit-constructor): the allocator requirements
  T* allocate(std::size_t n) {
    // What operator new gave is kept right before the page.
    std::size_t room = n * sizeof(T) + kDirectAlignment;
    void* const given = ::operator new(sizeof(void*) + room);
    void* page = static_cast<char*>(given) + sizeof(void*);
    page = std::align(kDirectAlignment, n * sizeof(T), page, room);
    std::memcpy(static_cast<char*>(page) - sizeof(void*), &given, sizeof(void*));
    return static_cast<T*>(page);
  }
  void deallocate(T* page, std::size_t /*n*/) {
    void* given = nullptr;
    std::memcpy(&given, reinterpret_cast<char*>(page) - sizeof(void*), sizeof(void*));
    ::operator delete(given);
  }
  bool operator==(const PageAllocator&) const { return true; }
};

using AlignedBytes = std::vector<std::byte, PageAllocator<std::byte>>;

}  // namespace fvd

#endif  // FVD_BASE_ALIGNED_BYTES_H_
