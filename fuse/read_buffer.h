// ReadBuffer: page-aligned memory for one read request, without a call to the allocator in the common case.
//
// It is what the request itself leaves of the worker's memory (workers.h), at least 256 KiB: what the kernel asks for
// by default. Larger ones come from a stack shared by all threads, so that there are as many as were ever needed at
// once and not one a thread. Thread-safe.
#ifndef FVDFS_READ_BUFFER_H_
#define FVDFS_READ_BUFFER_H_

#include <cstddef>
#include <memory>
#include <span>

namespace fvdfs {

struct FreeMemory {
  void operator()(std::byte* memory) const;
};
using AlignedMemory = std::unique_ptr<std::byte, FreeMemory>;

class ReadBuffer {
 public:
  // Throws std::bad_alloc when there is no memory. One a thread at a time.
  explicit ReadBuffer(std::size_t size);
  ~ReadBuffer();
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  std::size_t size_;
  std::byte* data_ = nullptr;
  AlignedMemory large_;
  std::size_t large_size_ = 0;
};

}  // namespace fvdfs

#endif  // FVDFS_READ_BUFFER_H_
