// What a stream says of a snapshot, and which snapshot of an image that is. Pure.
#ifndef FVD_STREAM_IDENTITY_H_
#define FVD_STREAM_IDENTITY_H_

#include <vector>

#include "format/stream.h"
#include "fvd/image.h"

namespace fvd {

inline format::StreamIdentity identity_of(const SnapshotInfo& snapshot) {
  return {snapshot.virtual_size, snapshot.created_seconds, snapshot.created_nanoseconds, snapshot.id};
}

// The snapshots of that identity: none, or one; more only where somebody has forged or imported them so.
inline std::vector<SnapshotInfo> find_identity(const std::vector<SnapshotInfo>& snapshots,
                                               const format::StreamIdentity& identity) {
  std::vector<SnapshotInfo> found;
  for (const SnapshotInfo& one : snapshots) {
    if (identity_of(one).same_snapshot(identity)) found.push_back(one);
  }
  return found;
}

}  // namespace fvd

#endif  // FVD_STREAM_IDENTITY_H_
