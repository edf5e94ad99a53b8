// BorrowedFile: lends a File to who wants to own one, without giving it away. As thread-safe as that file.
#ifndef FVD_IO_BORROWED_FILE_H_
#define FVD_IO_BORROWED_FILE_H_

#include "io/file.h"

namespace fvd {

class BorrowedFile final : public File {
 public:
  explicit BorrowedFile(File& file) : file_(file) {}
  Status read(std::uint64_t offset, std::span<std::byte> out) override { return file_.read(offset, out); }
  Status write(std::uint64_t offset, std::span<const std::byte> data) override { return file_.write(offset, data); }
  Status sync() override { return file_.sync(); }
  Status write_durably(std::uint64_t offset, std::span<const std::byte> data) override {
    return file_.write_durably(offset, data);
  }
  Status zero(std::uint64_t offset, std::uint64_t length) override { return file_.zero(offset, length); }
  Status reserve(std::uint64_t offset, std::uint64_t length) override { return file_.reserve(offset, length); }
  Status truncate(std::uint64_t size) override { return file_.truncate(size); }
  [[nodiscard]] Result<std::uint64_t> size() const override { return file_.size(); }
  [[nodiscard]] Result<std::uint64_t> allocated() const override { return file_.allocated(); }
  Result<std::uint64_t> seek_data(std::uint64_t offset, std::uint64_t end) override {
    return file_.seek_data(offset, end);
  }
  Result<std::uint64_t> seek_hole(std::uint64_t offset, std::uint64_t end) override {
    return file_.seek_hole(offset, end);
  }
  [[nodiscard]] bool is_block_device() const override { return file_.is_block_device(); }
  [[nodiscard]] const std::string& path() const override { return file_.path(); }

 private:
  File& file_;
};

}  // namespace fvd

#endif  // FVD_IO_BORROWED_FILE_H_
