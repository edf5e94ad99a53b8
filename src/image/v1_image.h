// V1Image: an original FVD image (version 1) as fvd::Image: one state that can be read, no snapshots, and nothing that
// can change; `fvd upgrade` makes it an image of which all that holds. Thread-safe, without a lock: nothing changes.
#ifndef FVD_IMAGE_V1_IMAGE_H_
#define FVD_IMAGE_V1_IMAGE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fvd/image.h"
#include "image/v1_state.h"
#include "io/storage.h"

namespace fvd {

class V1Image final : public Image {
 public:
  // What whoever asks for more than reading is told.
  static Status refusal(const std::string& path);
  static Result<std::unique_ptr<Image>> open(std::unique_ptr<File> file, const OpenOptions& options);

  Status close() override { return Status::ok(); }
  [[nodiscard]] std::uint64_t virtual_size() const override { return state_->virtual_size(); }
  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) override;
  Result<Extent> extent(std::uint64_t offset) override;
  Result<std::size_t> write(std::uint64_t, std::span<const std::byte>) override { return refused(); }
  Status flush() override { return Status::ok(); }
  Status discard(std::uint64_t, std::uint64_t) override { return refused(); }
  Status preallocate(std::uint64_t, std::uint64_t) override { return refused(); }
  Status resize(std::uint64_t, bool) override { return refused(); }
  Result<std::uint64_t> copy_range(SnapshotId, std::uint64_t, std::uint64_t, std::uint64_t) override {
    return refused();
  }

  Result<SnapshotId> snapshot_create(std::string_view, std::string_view) override { return refused(); }
  Status snapshot_goto(std::string_view) override { return refused(); }
  Status snapshot_rename(std::string_view, std::string_view) override { return refused(); }
  Status snapshot_delete(std::string_view) override { return refused(); }
  Status snapshot_set_description(std::string_view, std::string_view) override { return refused(); }
  Status snapshot_set_hold(std::string_view, bool) override { return refused(); }
  [[nodiscard]] std::vector<SnapshotInfo> snapshots() const override { return {}; }
  [[nodiscard]] std::optional<SnapshotInfo> find_snapshot(std::string_view) const override { return std::nullopt; }
  [[nodiscard]] std::optional<SnapshotInfo> find_snapshot(SnapshotId) const override { return std::nullopt; }
  [[nodiscard]] SnapshotId current_parent() const override { return 0; }
  Result<std::shared_ptr<StateReader>> open_snapshot(SnapshotId) override { return no_snapshot(); }
  std::vector<Result<std::uint64_t>> snapshots_exclusive(std::span<const SnapshotId> ids) override {
    return std::vector<Result<std::uint64_t>>(ids.size(), Result<std::uint64_t>(no_snapshot()));
  }
  Result<std::unique_ptr<StateDiff>> open_diff(SnapshotId a, SnapshotId b) override;
  Result<std::unique_ptr<SnapshotImport>> import_snapshot(const ImportOptions&) override { return refused(); }
  Status flatten(const WorkProgress&) override { return refused(); }
  Status compact(const WorkProgress&) override { return refused(); }

  [[nodiscard]] ImageInfo info() const override;
  [[nodiscard]] std::uint64_t allocated() const override;
  [[nodiscard]] bool read_only() const override { return true; }
  [[nodiscard]] std::vector<Metric> metrics() const override;

 private:
  explicit V1Image(std::unique_ptr<File> file) : storage_(std::move(file)) {}
  [[nodiscard]] Status refused() const { return refusal(storage_.file().path()); }
  [[nodiscard]] static Status no_snapshot() { return {Code::kNotFound, "there is no such snapshot"}; }

  Storage storage_;
  std::unique_ptr<V1State> state_;
  std::atomic<std::uint64_t> guest_reads_{0}, guest_read_bytes_{0};
};

}  // namespace fvd

#endif  // FVD_IMAGE_V1_IMAGE_H_
