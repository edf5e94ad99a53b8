// CRC32C (Castagnoli, as in iSCSI and ext4), computed by isa-l.
#ifndef FVD_BASE_CRC32C_H_
#define FVD_BASE_CRC32C_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace fvd {

// CRC32C of `data`; pass the previous result as `seed` to continue over several pieces.
std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t seed = 0);

}  // namespace fvd

#endif  // FVD_BASE_CRC32C_H_
