// SnapshotDirectory: the snapshots of an open image in memory, and who is reading them. Thread-safe.
//
// Changes are made on a copy of the records (records()), written and made durable by the image, and then published
// with replace(): readers see the old directory or the new one.
#ifndef FVD_SNAPSHOT_DIRECTORY_H_
#define FVD_SNAPSHOT_DIRECTORY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <utility>

#include "format/directory.h"
#include "snapshot/records.h"

namespace fvd {

class SnapshotDirectory {
 public:
  using Records = SnapshotRecords;

  // The records at this moment; they never change once published.
  [[nodiscard]] std::shared_ptr<const Records> records() const {
    const std::shared_lock lock(mutex_);
    return records_;
  }
  void replace(std::shared_ptr<const Records> records) {
    const std::unique_lock lock(mutex_);
    records_.swap(records);
  }

  // Counts a reader of snapshot `id`; nothing when there is no such snapshot or it is being deleted.
  [[nodiscard]] std::optional<format::SnapshotRecord> add_reader(std::uint32_t id) {
    const std::unique_lock lock(mutex_);
    if (id == deleting_ || replacing_) return std::nullopt;
    auto record = records_->find(id);
    if (record) ++readers_[id];
    return record;
  }
  void remove_reader(std::uint32_t id) {
    const std::unique_lock lock(mutex_);
    const auto it = readers_.find(id);
    if (it != readers_.end() && --it->second == 0) readers_.erase(it);
  }
  // False when somebody reads it; otherwise keeps new readers out until end_delete().
  [[nodiscard]] bool begin_delete(std::uint32_t id) {
    const std::unique_lock lock(mutex_);
    if (readers_.contains(id)) return false;
    deleting_ = id;
    return true;
  }
  void end_delete() {
    const std::unique_lock lock(mutex_);
    deleting_ = 0;
  }

  // The same for all snapshots at once, whose tables are to be replaced.
  [[nodiscard]] bool begin_replace() {
    const std::unique_lock lock(mutex_);
    replacing_ = readers_.empty();
    return replacing_;
  }
  void end_replace() {
    const std::unique_lock lock(mutex_);
    replacing_ = false;
  }

 private:
  mutable std::shared_mutex mutex_;
  std::shared_ptr<const Records> records_ = std::make_shared<const Records>();
  std::map<std::uint32_t, std::uint32_t> readers_;
  std::uint32_t deleting_ = 0;
  bool replacing_ = false;
};

}  // namespace fvd

#endif  // FVD_SNAPSHOT_DIRECTORY_H_
