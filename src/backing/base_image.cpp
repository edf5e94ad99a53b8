#include "backing/base_image.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "io/posix_file.h"

namespace fvd {

Result<std::unique_ptr<BaseImage>> BaseImage::open(const std::string& path, const std::string& format,
                                                   const std::string& image_path, std::uint64_t size) {
  if (!format.empty() && format != "raw") {
    return Status(Code::kUnsupported,
                  "base image " + path + ": format \"" + format + "\" is not supported, only raw; convert it first");
  }
  PosixFileOptions options;
  options.read_only = true;
  auto file = PosixFile::open(path_beside(image_path, path), options);
  if (!file) return Status(file.code(), "base image: " + file.status().message(), file.status().system_error());
  return std::unique_ptr<BaseImage>(new BaseImage(std::move(*file), size));
}

std::unique_ptr<BaseImage> BaseImage::missing(std::uint64_t size, Status why) {
  return std::unique_ptr<BaseImage>(new BaseImage(nullptr, size, std::move(why)));
}

Result<std::uint64_t> BaseImage::file_size() const {
  if (!why_missing_) return why_missing_;
  return file_->size();
}

Result<std::string> BaseImage::probe() {
  if (!why_missing_) return why_missing_;
  return probe_format(*file_);
}

Result<std::string> probe_format(File& file) {
  // Magic bytes at offset 0, as each format's specification gives them.
  struct Kind {
    std::string_view magic;
    const char* name;
  };
  static constexpr std::array<Kind, 8> kKinds{{{{"FVD2", 4}, "fvd"},
                                               {{"\xA9\xF5\x43\x51", 4}, "fvd"},
                                               {{"QFI\xFB", 4}, "qcow2"},
                                               {{"KDMV", 4}, "vmdk"},
                                               {{"vhdxfile", 8}, "vhdx"},
                                               {{"conectix", 8}, "vpc"},
                                               {{"<<< ", 4}, "vdi"},
                                               {{"QED\0", 4}, "qed"}}};
  std::array<char, 8> first{};
  if (Status s = file.read(0, std::as_writable_bytes(std::span(first))); !s) return s;
  for (const Kind& kind : kKinds) {
    if (std::memcmp(first.data(), kind.magic.data(), kind.magic.size()) == 0) return std::string(kind.name);
  }
  return std::string();
}

Status BaseImage::read(std::uint64_t offset, std::span<std::byte> out) {
  const std::uint64_t n = offset < size_ ? std::min<std::uint64_t>(out.size(), size_ - offset) : 0;
  if (n > 0) {
    if (!why_missing_) return why_missing_;
    if (Status s = file_->read(offset, out.first(n)); !s) return s;
  }
  std::memset(out.data() + n, 0, out.size() - n);
  return Status::ok();
}

Result<std::uint64_t> BaseImage::seek_data(std::uint64_t offset, std::uint64_t end) {
  if (offset >= size_) return end;
  if (!why_missing_) return why_missing_;
  const std::uint64_t stop = std::min(end, size_);
  auto found = file_->seek_data(offset, stop);
  if (found && *found == stop) return end;
  return found;
}

Result<std::uint64_t> BaseImage::seek_hole(std::uint64_t offset, std::uint64_t end) {
  if (offset >= size_) return offset;
  if (!why_missing_) return why_missing_;
  return file_->seek_hole(offset, std::min(end, size_));
}

}  // namespace fvd
