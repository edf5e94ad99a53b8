#include "cli/destination.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/posix_file.h"

namespace fvd::cli {
namespace {

Status exists_already(const std::string& path, bool device) {
  return {Code::kExists,
          device ? path + " is a block device; --force overwrites what it holds"
                 : path + " exists already; choose another name, or replace it with --force",
          EEXIST};
}

class RawDestination final : public Destination {
 public:
  static Result<std::unique_ptr<Destination>> make(const DestinationOptions& options) {
    PosixFileOptions how;
    how.lock = LockMode::kExclusive;
    how.create = !options.force;
    how.create_or_reuse = options.force;
    auto file = PosixFile::open(options.path, how);
    if (!file) {
      if (file.code() != Code::kExists) return file.status();
      struct stat st {};
      return exists_already(options.path, ::stat(options.path.c_str(), &st) == 0 && S_ISBLK(st.st_mode));
    }
    if ((*file)->is_block_device()) {
      const auto have = (*file)->size();
      if (!have) return have.status();
      if (*have < options.size) {
        return Status(Code::kInvalid, "device " + options.path + " has " + std::to_string(*have) +
                                          " bytes and the disk " + std::to_string(options.size) +
                                          "; choose a larger one");
      }
    }
    std::unique_ptr<RawDestination> made(new RawDestination(std::move(*file)));
    Status s = made->file_->truncate(0);
    if (s.is_ok()) s = made->file_->truncate(options.size);
    if (!s) return s;
    return std::unique_ptr<Destination>(std::move(made));
  }
  ~RawDestination() override {
    if (!finished_ && !file_->is_block_device()) (void)::unlink(file_->path().c_str());
  }

  Status write(std::uint64_t offset, std::span<const std::byte> data) override { return file_->write(offset, data); }
  Status zero(std::uint64_t offset, std::uint64_t length) override {
    return file_->is_block_device() ? file_->zero(offset, length) : Status::ok();  // a new file is one hole
  }
  Status finish() override {
    Status s = file_->sync();
    if (s.is_ok() && !file_->is_block_device()) s = sync_directory_of(file_->path());
    finished_ = s.is_ok();
    return s;
  }

 private:
  explicit RawDestination(std::unique_ptr<PosixFile> file) : file_(std::move(file)) {}
  const std::unique_ptr<PosixFile> file_;
  bool finished_ = false;
};

class ImageDestination final : public Destination {
 public:
  static Result<std::unique_ptr<Destination>> make(const DestinationOptions& options) {
    CreateOptions how;
    how.virtual_size = options.size;
    how.chunk_size = options.chunk_size;
    how.block_size = options.block_size;
    how.overwrite = options.force;
    if (Status s = Image::create(options.path, how); !s) return s;
    std::unique_ptr<ImageDestination> made(new ImageDestination(options.path));
    OpenOptions opening;
    opening.completion_idle = std::chrono::milliseconds(0);
    auto image = Image::open(options.path, opening);
    if (!image) return image.status();
    made->image_ = std::move(*image);
    return std::unique_ptr<Destination>(std::move(made));
  }
  ~ImageDestination() override {
    if (finished_) return;
    struct stat st {};
    if (::stat(path_.c_str(), &st) == 0 && S_ISREG(st.st_mode)) (void)::unlink(path_.c_str());
  }

  Status write(std::uint64_t offset, std::span<const std::byte> data) override {
    return image_->write(offset, data).status();
  }
  Status zero(std::uint64_t, std::uint64_t) override { return Status::ok(); }  // a new image holds nothing else
  Status finish() override {
    Status s = image_->close();
    image_.reset();
    finished_ = s.is_ok();
    return s;
  }

 private:
  explicit ImageDestination(std::string path) : path_(std::move(path)) {}
  const std::string path_;
  std::unique_ptr<Image> image_;
  bool finished_ = false;
};

}  // namespace

Result<std::unique_ptr<Destination>> Destination::make(const DestinationOptions& options) {
  struct stat st {};
  const bool exists = ::stat(options.path.c_str(), &st) == 0;
  if (exists && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
    return Status(Code::kUnsupported,
                  options.path + " is neither a regular file nor a block device; choose another destination");
  }
  if (exists && !options.force) return exists_already(options.path, S_ISBLK(st.st_mode));
  return options.image ? ImageDestination::make(options) : RawDestination::make(options);
}

}  // namespace fvd::cli
