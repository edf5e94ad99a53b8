#include "cli/source.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "backing/base_image.h"
#include "io/posix_file.h"
#include "io/same_file.h"

namespace fvd::cli {
namespace {

constexpr std::array<std::array<unsigned char, 4>, 3> kMagics{
    {{'F', 'V', 'D', '2'}, {0xA9, 0xF5, 0x43, 0x51}, {'F', 'V', 'D', 0}}};  // today's, the original's, the wiki's

// A raw file or device as a state.
class RawDisk final : public StateReader {
 public:
  RawDisk(std::unique_ptr<PosixFile> file, std::uint64_t size) : file_(std::move(file)), size_(size) {}

  [[nodiscard]] std::uint64_t virtual_size() const override { return size_; }
  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) override {
    if (offset >= size_) return std::size_t{0};
    out = out.first(std::min<std::uint64_t>(out.size(), size_ - offset));
    if (Status s = file_->read(offset, out); !s) return s;
    return out.size();
  }
  Result<Extent> extent(std::uint64_t offset) override {
    if (offset >= size_) return Status(Code::kInvalid, "no extent past the end of the disk");
    const auto data = file_->seek_data(offset, size_);
    if (!data) return data.status();
    if (*data > offset) return Extent{offset, *data - offset, false};
    const auto hole = file_->seek_hole(offset, size_);
    if (!hole) return hole.status();
    return Extent{offset, std::max<std::uint64_t>(*hole - offset, 1), true};
  }

 private:
  const std::unique_ptr<PosixFile> file_;
  const std::uint64_t size_;
};

Result<bool> is_image(const std::string& path, const SourceOptions& options, PosixFile& file) {
  if (options.format == "raw") return false;
  if (options.format == "fvd") return true;
  if (!options.format.empty()) {
    return Status(Code::kInvalid, path + ": the format \"" + options.format + "\" is neither raw nor fvd");
  }
  std::array<std::byte, 4> first;
  if (Status s = file.read(0, first); !s) return s;
  const bool ours = std::any_of(kMagics.begin(), kMagics.end(), [&](const std::array<unsigned char, 4>& magic) {
    return std::memcmp(first.data(), magic.data(), magic.size()) == 0;
  });
  if (ours) return true;
  const auto other = probe_format(file);
  if (!other) return other.status();
  if (other->empty()) return false;
  return Status(Code::kUnsupported, path + " is not raw but " + *other +
                                        "; convert it to raw first (qemu-img convert -O raw), or give the format raw "
                                        "to take it as it stands");
}

}  // namespace

Result<std::unique_ptr<Source>> Source::open(const std::string& path, const SourceOptions& options) {
  PosixFileOptions how;
  how.read_only = true;
  auto file = PosixFile::open(path, how);
  if (!file) return file.status();
  const auto image = is_image(path, options, **file);
  if (!image) return image.status();
  std::unique_ptr<Source> source(new Source(path));
  if (!*image) {
    if (!options.snapshot.empty()) {
      return Status(Code::kInvalid,
                    path + " is a raw disk and has no snapshots; leave \"" + options.snapshot + "\" out");
    }
    const auto size = (*file)->size();
    if (!size) return size.status();
    source->raw_ = std::make_unique<RawDisk>(std::move(*file), *size);
    source->state_ = source->raw_.get();
    return source;
  }
  OpenOptions reading;
  reading.read_only = true;
  reading.force_share = options.force_share;
  auto opened = Image::open(path, reading);
  if (!opened) return opened.status();
  source->image_ = std::move(*opened);
  source->state_ = source->image_.get();
  if (options.snapshot.empty() || options.snapshot == "current-state") return source;
  const auto found = source->image_->find_snapshot(options.snapshot);
  if (!found) return Status(Code::kNotFound, "image " + path + ": there is no snapshot \"" + options.snapshot + "\"");
  auto snapshot = source->image_->open_snapshot(found->id);
  if (!snapshot) return snapshot.status();
  source->snapshot_ = std::move(*snapshot);
  source->state_ = source->snapshot_.get();
  return source;
}

bool Source::reads_from(const std::string& path) const {
  if (same_file(path, path_)) return true;
  if (image_ == nullptr) return false;
  const ImageInfo info = image_->info();
  for (const std::string& other : {info.base_path, info.data_path}) {
    if (!other.empty() && same_file(path, path_beside(path_, other))) return true;
  }
  return false;
}

Status read_padded(StateReader& state, std::uint64_t offset, std::span<std::byte> out) {
  const auto read = state.read(offset, out);
  if (!read) return read.status();
  std::memset(out.data() + *read, 0, out.size() - *read);
  return Status::ok();
}

}  // namespace fvd::cli
