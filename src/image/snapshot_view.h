// SnapshotView: reads one snapshot straight from its table object.
//
// Opening verifies the whole object once. After that only the group index and one number for each 64 partial
// records stay in memory (at most some 270 KiB at 1 TiB); entries are read from the file, that is from the host's page
// cache, so any number of snapshots can be open at once. Thread-safe.
#ifndef FVD_IMAGE_SNAPSHOT_VIEW_H_
#define FVD_IMAGE_SNAPSHOT_VIEW_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "format/directory.h"
#include "format/table.h"
#include "image/state_io.h"

namespace fvd {

class SnapshotView final : public StateMap {
 public:
  static Result<std::unique_ptr<SnapshotView>> open(Storage& storage, const format::Geometry& geometry,
                                                    const format::SnapshotRecord& record, std::uint32_t chunk_limit);

  Status lookup(std::uint32_t v, Mapping* out) override;
  std::uint32_t empty_run(std::uint32_t v, std::uint32_t limit) override;

 private:
  SnapshotView(Storage& storage, const format::Geometry& geometry, std::uint32_t chunk_limit)
      : storage_(storage), geometry_(geometry), chunk_limit_(chunk_limit) {}
  Status lookup_partial(std::uint32_t v, Mapping* out);

  Storage& storage_;
  const format::Geometry geometry_;
  const std::uint32_t chunk_limit_;
  std::uint64_t object_offset_ = 0;  // in the file
  format::TableHeader header_;
  std::vector<std::uint32_t> groups_;         // numbers of the stored groups, ascending
  std::vector<std::uint32_t> partial_index_;  // virtual chunk of every kStride-th partial record
};

}  // namespace fvd

#endif  // FVD_IMAGE_SNAPSHOT_VIEW_H_
