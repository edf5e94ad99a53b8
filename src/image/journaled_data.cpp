#include "image/journaled_data.h"

#include <algorithm>
#include <iterator>

namespace fvd {

void JournaledData::put(std::uint64_t offset, std::uint64_t length, std::uint64_t source) {
  drop(offset, length);
  ranges_.insert_or_assign(offset, Data{length, source});
}

void JournaledData::drop(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = offset + length;
  auto it = ranges_.lower_bound(offset);
  if (it != ranges_.begin() && std::prev(it)->first + std::prev(it)->second.length > offset) --it;
  while (it != ranges_.end() && it->first < end) {
    const std::uint64_t from = it->first;
    const Data data = it->second;
    it = ranges_.erase(it);
    if (from < offset) ranges_.emplace(from, Data{offset - from, data.source});
    if (from + data.length > end) {
      it = ranges_.emplace(end, Data{from + data.length - end, data.source + end - from}).first;
    }
  }
}

JournaledData::Range JournaledData::next(std::uint64_t offset) const {
  auto it = ranges_.upper_bound(offset);
  if (it != ranges_.begin()) {
    const auto& [from, data] = *std::prev(it);
    if (from + data.length > offset) return {offset, from + data.length - offset, data.source + offset - from};
  }
  if (it == ranges_.end()) return {};
  return {it->first, it->second.length, it->second.source};
}

Status JournaledData::read_over(Storage& storage, std::uint64_t offset, std::span<std::byte> out) const {
  const std::uint64_t end = offset + out.size();
  for (Range r = next(offset); r.length != 0 && r.offset < end; r = next(r.offset + r.length)) {
    const std::uint64_t length = std::min(r.length, end - r.offset);
    if (Status s = storage.read(Structure::kJournal, r.source, out.subspan(r.offset - offset, length)); !s) return s;
  }
  return Status::ok();
}

}  // namespace fvd
