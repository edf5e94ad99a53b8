// A File in memory, for tests that make images byte by byte. Nothing fails but what has no memory. Thread-safe.
#ifndef FVD_TESTS_SUPPORT_MEMORY_FILE_H_
#define FVD_TESTS_SUPPORT_MEMORY_FILE_H_

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "io/file.h"

namespace fvd::test {

class MemoryFile : public File {
 public:
  explicit MemoryFile(std::vector<std::byte> bytes = {}) : bytes_(std::move(bytes)) {}

  [[nodiscard]] std::vector<std::byte> bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }
  Status read(std::uint64_t offset, std::span<std::byte> out) override {
    const std::lock_guard lock(mutex_);
    const std::size_t have = offset < bytes_.size() ? std::min<std::size_t>(out.size(), bytes_.size() - offset) : 0;
    if (have != 0) std::memcpy(out.data(), bytes_.data() + offset, have);
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(have), out.end(), std::byte{0});
    return Status::ok();
  }
  Status write(std::uint64_t offset, std::span<const std::byte> data) override {
    if (data.empty()) return Status::ok();
    const std::lock_guard lock(mutex_);
    if (offset > kMaxSize || data.size() > kMaxSize - offset) return full();
    if (offset + data.size() > bytes_.size()) bytes_.resize(offset + data.size());
    std::memcpy(bytes_.data() + offset, data.data(), data.size());
    return Status::ok();
  }
  Status sync() override { return Status::ok(); }
  Status zero(std::uint64_t offset, std::uint64_t length) override {
    const std::lock_guard lock(mutex_);
    if (offset >= bytes_.size()) return Status::ok();
    std::memset(bytes_.data() + offset, 0, std::min<std::uint64_t>(length, bytes_.size() - offset));
    return Status::ok();
  }
  Status reserve(std::uint64_t, std::uint64_t) override { return Status::ok(); }
  Status truncate(std::uint64_t size) override {
    const std::lock_guard lock(mutex_);
    if (size > kMaxSize) return full();
    bytes_.resize(size);
    return Status::ok();
  }
  [[nodiscard]] Result<std::uint64_t> size() const override {
    const std::lock_guard lock(mutex_);
    return std::uint64_t{bytes_.size()};
  }
  [[nodiscard]] Result<std::uint64_t> allocated() const override { return size(); }
  Result<std::uint64_t> seek_data(std::uint64_t offset, std::uint64_t) override { return offset; }
  Result<std::uint64_t> seek_hole(std::uint64_t, std::uint64_t end) override { return end; }
  [[nodiscard]] bool is_block_device() const override { return false; }
  [[nodiscard]] const std::string& path() const override { return path_; }

 private:
  static constexpr std::uint64_t kMaxSize = 1ULL << 30;  // what a hostile image may make it grow to
  static Status full() { return {Code::kNoSpace, "the file in memory is full"}; }

  mutable std::mutex mutex_;
  std::vector<std::byte> bytes_;
  const std::string path_ = "memory";
};

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_MEMORY_FILE_H_
