#include "format/v1_upgrade.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/crc32c.h"
#include "base/endian.h"
#include "format/v1_header.h"

namespace fvd::format {
namespace {

constexpr std::string_view kMagic = "FVD1to2\n";
constexpr std::size_t kCrcAt = 8;
constexpr std::size_t kCrcStart = 12;
constexpr std::size_t kSectorsAt = 16;
constexpr std::size_t kHeaderAt = 48;
constexpr std::size_t kHeaderBytes = 88;  // the rest of a header is zeros

}  // namespace

V1Upgrade V1Upgrade::of(std::span<const std::byte, kPage> old_page, const Header& header) {
  V1Upgrade upgrade;
  for (std::size_t i = 0; i < kSectors; ++i) upgrade.old_sectors[i] = crc32c(old_page.subspan(i * kSize, kSize));
  header.encode(upgrade.new_page);
  return upgrade;
}

void V1Upgrade::encode(std::span<std::byte, kSize> out) const {
  std::memset(out.data(), 0, out.size());
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  for (std::size_t i = 0; i < kSectors; ++i) store_le(out.data() + kSectorsAt + i * 4, old_sectors[i]);
  std::memcpy(out.data() + kHeaderAt, new_page.data(), kHeaderBytes);
  store_le(out.data() + kCrcAt, crc32c(out.subspan(kCrcStart)));
}

std::optional<V1Upgrade> V1Upgrade::decode(std::span<const std::byte, kSize> in) {
  if (std::memcmp(in.data(), kMagic.data(), kMagic.size()) != 0) return std::nullopt;
  if (load_le<std::uint32_t>(in.data() + kCrcAt) != crc32c(in.subspan(kCrcStart))) return std::nullopt;
  V1Upgrade upgrade;
  for (std::size_t i = 0; i < kSectors; ++i) {
    upgrade.old_sectors[i] = load_le<std::uint32_t>(in.data() + kSectorsAt + i * 4);
  }
  std::memcpy(upgrade.new_page.data(), in.data() + kHeaderAt, kHeaderBytes);
  return upgrade;
}

bool V1Upgrade::is_torn(std::span<const std::byte, kPage> page) const {
  bool any_new = false;
  for (std::size_t i = 0; i < kSectors; ++i) {
    const auto sector = page.subspan(i * kSize, kSize);
    if (crc32c(sector) == old_sectors[i]) continue;
    if (std::memcmp(sector.data(), new_page.data() + i * kSize, kSize) != 0) return false;
    any_new = true;
  }
  return any_new;
}

Identity identify(std::span<const std::byte, kIdentityBytes> first) {
  const auto page = first.first<kPage>();
  Identity identity;
  auto header = Header::decode(page);
  if (header) {
    identity.kind = Identity::Kind::kVersion2;
    identity.header = *header;
    return identity;
  }
  const bool version_1 = V1Header::has_magic(page);
  if (version_1 || header.code() == Code::kCorrupt) {
    const auto upgrade = V1Upgrade::decode(first.subspan<V1Upgrade::kOffset, V1Upgrade::kSize>());
    if (upgrade && upgrade->is_torn(page)) header = Header::decode(upgrade->new_page);
    if (header) {
      identity.kind = Identity::Kind::kVersion2;
      identity.torn = true;
      identity.header = *header;
      return identity;
    }
  }
  if (version_1) {
    identity.kind = Identity::Kind::kVersion1;
  } else {
    identity.why = header.status();
  }
  return identity;
}

}  // namespace fvd::format
