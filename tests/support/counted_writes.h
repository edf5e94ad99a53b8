// Numbered writes: what writers that count leave on a disk, and what of it must be there after a cut or a crash.
//
// Each writer has a region of its own and writes n = 1, 2, 3, ...; number n goes to slot n % kSlots of the region, and
// every sector of it tells n, the writer and its place, in all of its bytes. So the bytes of a disk alone show which
// writes are in it, and a torn or misplaced sector is recognised. Immutable, hence thread-safe.
#ifndef FVD_TESTS_SUPPORT_COUNTED_WRITES_H_
#define FVD_TESTS_SUPPORT_COUNTED_WRITES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fvd::test {

class CountedWrites {
 public:
  static constexpr std::uint64_t kRegionSize = 1U << 20;
  static constexpr std::uint64_t kSlots = 48;
  static constexpr std::uint64_t kStride = 5 * 4096;  // from slot to slot
  static constexpr std::size_t kSector = 512;

  struct Region {
    std::size_t sectors = 1;  // of one write
    bool stored = false;      // by stores into a mapping: neither atomic by the sector nor in order
  };
  // What is known of one writer at a moment.
  struct Bounds {
    std::uint64_t start = 0;  // numbers up to this one are in the base that is compared with
    std::uint64_t least = 0;  // numbers up to this one must be there
    std::uint64_t most = 0;   // numbers above this one must not
  };

  explicit CountedWrites(std::vector<Region> regions) : regions_(std::move(regions)) {}

  [[nodiscard]] std::size_t writers() const { return regions_.size(); }
  [[nodiscard]] std::uint64_t disk_size() const { return regions_.size() * kRegionSize; }
  [[nodiscard]] std::uint64_t offset(std::size_t writer, std::uint64_t number) const;
  [[nodiscard]] std::size_t length(std::size_t writer) const { return regions_[writer].sectors * kSector; }
  // Fills length(writer) bytes.
  void fill(std::size_t writer, std::uint64_t number, char* out) const;

  // Both compare the whole disk with `base` and the writes that followed it; "" or the first thing that is wrong.
  // A cut holds a prefix of each writer's sequence and nothing else. Stored regions hold at least what must be there.
  [[nodiscard]] std::string judge_cut(const std::string& seen, const std::string& base,
                                      const std::vector<Bounds>& bounds) const;
  // After a crash each sector has its old or its new content, and what must be there is.
  [[nodiscard]] std::string judge_crash(const std::string& seen, const std::string& base,
                                        const std::vector<Bounds>& bounds) const;

 private:
  [[nodiscard]] std::string judge_sectors(std::size_t writer, const std::string& seen, const std::string& base,
                                          const Bounds& bounds) const;
  [[nodiscard]] bool is_mixture(std::size_t writer, std::uint64_t slot, const char* seen, const char* base,
                                const Bounds& bounds) const;

  std::vector<Region> regions_;
};

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_COUNTED_WRITES_H_
