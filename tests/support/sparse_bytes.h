// SparseBytes: bytes in copy-on-write pages; copying one costs its page index. Not thread-safe.
#ifndef FVD_TESTS_SUPPORT_SPARSE_BYTES_H_
#define FVD_TESTS_SUPPORT_SPARSE_BYTES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>

namespace fvd::test {

class SparseBytes {
 public:
  static constexpr std::uint64_t kPageSize = 4096;

  void read(std::uint64_t offset, std::span<std::byte> out) const;
  void write(std::uint64_t offset, std::span<const std::byte> data);
  void zero(std::uint64_t offset, std::uint64_t length);  // gives whole pages back; never grows
  void allocate(std::uint64_t offset, std::uint64_t length);
  void truncate(std::uint64_t size);
  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] std::uint64_t allocated() const { return pages_.size() * kPageSize; }
  // Bytes of pages that a write to the range would have to allocate.
  [[nodiscard]] std::uint64_t missing(std::uint64_t offset, std::uint64_t length) const;
  [[nodiscard]] std::uint64_t seek_data(std::uint64_t offset, std::uint64_t end) const;
  [[nodiscard]] std::uint64_t seek_hole(std::uint64_t offset, std::uint64_t end) const;

 private:
  using Page = std::array<std::byte, kPageSize>;
  Page& page_for_write(std::uint64_t number);

  std::map<std::uint64_t, std::shared_ptr<Page>> pages_;
  std::uint64_t size_ = 0;
};

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_SPARSE_BYTES_H_
