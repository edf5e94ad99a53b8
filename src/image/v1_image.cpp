#include "image/v1_image.h"

#include <algorithm>

#include "base/shell.h"

namespace fvd {

namespace {

// One state, compared with itself.
class NoDifference final : public StateDiff {
 public:
  explicit NoDifference(std::uint64_t size) : size_(size) {}
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  Result<Run> run(std::uint64_t offset) override {
    if (offset >= size_) return Status(Code::kInvalid, "past the end of both disks");
    return Run{offset, size_ - offset, false};
  }

 private:
  const std::uint64_t size_;
};

}  // namespace

Status V1Image::refusal(const std::string& path) {
  return {Code::kReadOnly,
          "image " + path +
              " is an original FVD image (version 1), which is only read; bring it to version 2 with: fvd upgrade " +
              shell_operands({path})};
}

Result<std::unique_ptr<Image>> V1Image::open(std::unique_ptr<File> file, const OpenOptions& options) {
  std::unique_ptr<V1Image> image(new V1Image(std::move(file)));
  auto state = V1State::load(image->storage_, options.without_base);
  if (!state) return state.status();
  image->state_ = std::move(*state);
  return std::unique_ptr<Image>(std::move(image));
}

Result<std::size_t> V1Image::read(std::uint64_t offset, std::span<std::byte> out) {
  if (offset >= virtual_size()) return std::size_t{0};
  out = out.first(std::min<std::uint64_t>(out.size(), virtual_size() - offset));
  guest_reads_.fetch_add(1, std::memory_order_relaxed);
  guest_read_bytes_.fetch_add(out.size(), std::memory_order_relaxed);
  if (Status s = state_->read(offset, out); !s) return s;
  return out.size();
}

Result<Extent> V1Image::extent(std::uint64_t offset) {
  if (offset >= virtual_size()) return Status(Code::kInvalid, "no extent past the end of the disk");
  const V1State::Piece piece = state_->piece(offset, virtual_size());
  Extent extent{offset, piece.length, false};
  if (piece.from == V1State::Piece::From::kZeros) return extent;
  const bool from_base = piece.from == V1State::Piece::From::kBase;
  const auto seek = [&](bool data, std::uint64_t from) {
    const std::uint64_t end = piece.file_offset + piece.length;
    if (from_base) return data ? state_->base()->seek_data(from, end) : state_->base()->seek_hole(from, end);
    return data ? state_->store().seek_data(from, end) : state_->store().seek_hole(from, end);
  };
  extent.place = from_base ? Extent::Place::kBase : Extent::Place::kImage;
  extent.file_offset = piece.file_offset;
  const auto data = seek(true, piece.file_offset);
  if (!data) return data.status();
  if (*data > piece.file_offset) {
    extent.length = *data - piece.file_offset;
    return extent;
  }
  const auto hole = seek(false, piece.file_offset);
  if (!hole) return hole.status();
  extent.data = true;
  extent.length = std::max<std::uint64_t>(*hole - piece.file_offset, 1);
  return extent;
}

Result<std::unique_ptr<StateDiff>> V1Image::open_diff(SnapshotId a, SnapshotId b) {
  if (a != 0 || b != 0) return no_snapshot();
  return std::unique_ptr<StateDiff>(std::make_unique<NoDifference>(virtual_size()));
}

std::uint64_t V1Image::allocated() const {
  const format::V1Header& header = state_->header();
  const auto host = state_->store().allocated();
  const std::uint64_t most = header.compact ? state_->mapped() * header.chunk_size : header.virtual_size;
  return host ? std::min(most, *host) : most;
}

ImageInfo V1Image::info() const {
  const format::V1Header& header = state_->header();
  ImageInfo info;
  info.path = storage_.file().path();
  info.format_version = 1;
  info.chunk_size = header.chunk_size;
  info.block_size = header.block_size;
  info.virtual_size = header.virtual_size;
  info.allocated = allocated();
  const auto size = storage_.file().size();
  info.file_size = size ? *size : 0;
  const auto host = storage_.file().allocated();
  info.host_allocated = host ? *host : 0;
  if (header.compact) {
    const auto store = state_->store().size();
    info.chunks_total = store && *store > header.data_offset ? (*store - header.data_offset) / header.chunk_size : 0;
    info.chunks_used = state_->mapped();
  }
  info.journal_size = header.journal_size;
  info.was_clean = header.clean;
  info.read_only = true;
  info.is_block_device = storage_.file().is_block_device();
  info.base_path = header.base_path;
  info.base_format = header.base_format;
  info.base_size = header.base_size;
  if (state_->base() != nullptr) info.base_error = state_->base()->why_missing().message();
  info.data_path = header.data_path;
  return info;
}

std::vector<Metric> V1Image::metrics() const {
  std::vector<Metric> all;
  for (std::size_t i = 0; i < kStructureNames.size(); ++i) {
    all.push_back({"fvd_read_bytes_total", "Bytes read from the image, by structure.",
                   std::string("structure=\"") + kStructureNames[i] + "\"", true,
                   storage_.bytes_read(static_cast<Structure>(i))});
  }
  all.push_back({"fvd_guest_reads_total", "Reads served, of any state.", {}, true, guest_reads_.load()});
  all.push_back({"fvd_guest_read_bytes_total", "Bytes of them.", {}, true, guest_read_bytes_.load()});
  all.push_back({"fvd_virtual_size_bytes", "Virtual size of current-state.", {}, false, virtual_size()});
  all.push_back({"fvd_allocated_bytes", "Bytes that current-state reaches.", {}, false, allocated()});
  all.push_back(
      {"fvd_read_only", "1 when the image is open read-only or turned read-only after a failure.", {}, false, 1});
  return all;
}

}  // namespace fvd
