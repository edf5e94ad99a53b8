// PartialMap: origin and bitmap of partial chunks, by virtual chunk.
//
// An open-addressing table (linear probing, backward-shift deletion) of flat arrays: about 60 bytes an entry at the
// default geometry, which matters when a full disk has just been snapshotted and every write makes one. Not
// thread-safe: each stripe of the front guards its own.
#ifndef FVD_MAP_PARTIAL_MAP_H_
#define FVD_MAP_PARTIAL_MAP_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fvd {

class PartialMap {
 public:
  // `words`: 64-bit words of a bitmap.
  explicit PartialMap(std::uint32_t words) : words_(words) {}

  // A partial chunk in the map; valid until the next insert or erase.
  struct Entry {
    std::uint32_t* origin = nullptr;  // chunk, kOriginZero or kOriginBase
    std::span<std::uint64_t> words;   // bit set = block present
    explicit operator bool() const { return origin != nullptr; }
    // Nothing but this entry reaches the origin: free it when the entry goes.
    [[nodiscard]] bool origin_owned() const { return *owned_since == cut; }
    void set_origin_owned(bool owned) const { *owned_since = owned ? cut : kNever; }

    std::uint32_t* owned_since = nullptr;  // owned when that is the map's cut
    std::uint32_t cut = 0;
  };

  Entry find(std::uint32_t virtual_chunk);
  // An entry with an empty bitmap. REQUIRES that there is none for the chunk yet.
  Entry insert(std::uint32_t virtual_chunk, std::uint32_t origin);
  void erase(std::uint32_t virtual_chunk);  // no effect when there is none
  // No entry owns its origin from here on. Takes no time.
  void disown_origins() {
    if (++cut_ == kNever) ++cut_;
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t memory() const;  // bytes

  // Calls visit(virtual chunk, Entry) for each, in no order.
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      if (keys_[i] != kFree) visit(keys_[i], at(i));
    }
  }

 private:
  static constexpr std::uint32_t kFree = 0xFFFFFFFF;
  static constexpr std::uint32_t kNever = 0;
  [[nodiscard]] std::size_t home(std::uint32_t key) const;
  [[nodiscard]] std::size_t slot_of(std::uint32_t key) const;  // its slot, or the free one where it would go
  Entry at(std::size_t slot);
  void move(std::size_t from, std::size_t to);
  void grow();

  std::uint32_t words_;
  std::size_t size_ = 0;
  std::uint32_t cut_ = kNever + 1;
  std::vector<std::uint32_t> keys_;  // a power of two of them, or none
  std::vector<std::uint32_t> origins_;
  std::vector<std::uint32_t> owned_since_;
  std::vector<std::uint64_t> bits_;
};

}  // namespace fvd

#endif  // FVD_MAP_PARTIAL_MAP_H_
