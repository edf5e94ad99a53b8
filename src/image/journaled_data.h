// JournaledData: which ranges of current-state the journal holds the data of, and where, after a replay. What it names
// counts instead of what the chunks hold, which may never have become durable.
//
// Opening for writing puts the data in place; a reader that must not write looks here. Not thread-safe but for const.
#ifndef FVD_IMAGE_JOURNALED_DATA_H_
#define FVD_IMAGE_JOURNALED_DATA_H_

#include <cstdint>
#include <map>
#include <span>

#include "fvd/status.h"
#include "io/storage.h"

namespace fvd {

class JournaledData {
 public:
  struct Range {
    std::uint64_t offset = 0;  // of the virtual disk
    std::uint64_t length = 0;
    std::uint64_t source = 0;  // of the image file: where the data is
  };

  // Newer than whatever the range had before.
  void put(std::uint64_t offset, std::uint64_t length, std::uint64_t source);
  void drop(std::uint64_t offset, std::uint64_t length);
  void clear() { ranges_.clear(); }
  [[nodiscard]] bool empty() const { return ranges_.empty(); }

  // The first range, or its part, at or after `offset`; length 0: there is none.
  [[nodiscard]] Range next(std::uint64_t offset) const;
  // Puts what is here of [offset, +out.size()) over `out`.
  Status read_over(Storage& storage, std::uint64_t offset, std::span<std::byte> out) const;

 private:
  struct Data {
    std::uint64_t length = 0;
    std::uint64_t source = 0;
  };
  std::map<std::uint64_t, Data> ranges_;  // by offset; they do not overlap
};

}  // namespace fvd

#endif  // FVD_IMAGE_JOURNALED_DATA_H_
