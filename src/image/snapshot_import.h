// SnapshotImporter: a snapshot that is built aside, in chunks of its own, and becomes part of the image in one switch.
//
// Its mapping is a Front of its own that nobody else sees. What it took from the base is marked shared there, and so
// never written; what is not marked it has allocated itself and gives back if it is abandoned. docs/crash-safety.md,
// "Import", has the steps. Thread-safe: one mutex over everything, outside the image's own locks.
#ifndef FVD_IMAGE_SNAPSHOT_IMPORT_H_
#define FVD_IMAGE_SNAPSHOT_IMPORT_H_

#include <cstdint>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "image/image_impl.h"

namespace fvd {

class SnapshotImporter final : public SnapshotImport {
 public:
  SnapshotImporter(ImageImpl& image, ImportOptions options)
      : image_(image), geometry_(image.geometry_), options_(std::move(options)), state_(image.geometry_) {}
  ~SnapshotImporter() override;
  SnapshotImporter(const SnapshotImporter&) = delete;
  SnapshotImporter& operator=(const SnapshotImporter&) = delete;

  // Checks the options, pins base and parent, and takes up the base's mapping. Nothing else before this succeeds.
  Status begin();

  Status write(std::uint64_t offset, std::span<const std::byte> data) override;
  Status discard(std::uint64_t offset, std::uint64_t length) override;
  Result<SnapshotId> commit() override;

 private:
  using Payload = ImageImpl::Payload;

  Status check_options() const;
  Status pin(SnapshotId id, const char* what);
  void unpin();
  void abandon();  // gives back what it has allocated
  Status take_up_base(const format::SnapshotRecord& base);
  void hide_base_image(std::uint32_t first);
  Status check_range(std::uint64_t offset, std::uint64_t length) const;
  // `payload` at `offset` of virtual chunk `v`; tries again once where space can be found.
  Status put(std::uint32_t v, std::uint64_t offset, const Payload& payload);
  Status put_once(std::uint32_t v, std::uint64_t offset, const Payload& payload);
  Status put_into_partial(std::uint32_t v, std::uint32_t entry, std::uint64_t offset, const Payload& payload);
  void unmap(std::uint32_t v);
  void replace(std::uint32_t v, std::uint32_t entry, const Mapping* partial = nullptr);

  ImageImpl& image_;
  const format::Geometry geometry_;
  const ImportOptions options_;
  std::mutex mutex_;
  Front state_;
  std::vector<SnapshotId> pinned_;
  bool over_ = false;  // committed
};

}  // namespace fvd

#endif  // FVD_IMAGE_SNAPSHOT_IMPORT_H_
