// What every StateReader has in common: searching for data and holes over its extents.
#include <cstdint>

#include "fvd/image.h"

namespace fvd {
namespace {

Result<std::uint64_t> seek(StateReader& state, std::uint64_t offset, bool data) {
  const std::uint64_t size = state.virtual_size();
  if (offset >= size) return Status(Code::kNotFound, "nothing past the end of the disk");
  while (offset < size) {
    auto extent = state.extent(offset);
    if (!extent) return extent.status();
    if (extent->data == data) return offset;
    offset += extent->length;
  }
  if (data) return Status(Code::kNotFound, "no data up to the end of the disk");
  return size;
}

}  // namespace

Result<std::uint64_t> StateReader::seek_data(std::uint64_t offset) { return seek(*this, offset, true); }
Result<std::uint64_t> StateReader::seek_hole(std::uint64_t offset) { return seek(*this, offset, false); }

}  // namespace fvd
