// What tells the versions apart in a file's first two pages, also when a power cut has torn the write of page 0 that
// makes an original image (version 1) one of version 2.
//
// Before that write an upgrade record lies in a sector that version 1 leaves alone: checksums of page 0 as it was, and
// the header that it becomes. A page 0 of which each sector is one or the other, and at least one is new, was torn.
#ifndef FVD_FORMAT_V1_UPGRADE_H_
#define FVD_FORMAT_V1_UPGRADE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "format/header.h"

namespace fvd::format {

// The upgrade record: 512 bytes at kOffset.
struct V1Upgrade {
  static constexpr std::size_t kOffset = 4608;
  static constexpr std::size_t kSize = 512;
  static constexpr std::size_t kSectors = kPage / kSize;  // of page 0

  std::array<std::uint32_t, kSectors> old_sectors{};  // CRC of each sector of page 0 as version 1 had it
  std::array<std::byte, kPage> new_page{};            // what page 0 becomes

  static V1Upgrade of(std::span<const std::byte, kPage> old_page, const Header& header);
  void encode(std::span<std::byte, kSize> out) const;
  // Nothing unless magic and CRC are right.
  static std::optional<V1Upgrade> decode(std::span<const std::byte, kSize> in);
  // Whether `page` is a mixture of the old sectors and the new ones, and not the old page itself.
  [[nodiscard]] bool is_torn(std::span<const std::byte, kPage> page) const;
};

struct Identity {
  enum class Kind : std::uint8_t { kVersion1, kVersion2, kUnknown };
  Kind kind = Kind::kUnknown;
  bool torn = false;  // version 2, but page 0 must be written anew before anything else is
  Header header;      // of version 2
  Status why;         // kUnknown: as Header::decode()
};

inline constexpr std::size_t kIdentityBytes = 2 * std::size_t{kPage};
// `first`: of the file; zeros where it is shorter.
Identity identify(std::span<const std::byte, kIdentityBytes> first);

}  // namespace fvd::format

#endif  // FVD_FORMAT_V1_UPGRADE_H_
