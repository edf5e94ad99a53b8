// Random bytes from the kernel, for what must not repeat: uuids and the salts of journals. Thread-safe.
#ifndef FVD_IMAGE_RANDOM_H_
#define FVD_IMAGE_RANDOM_H_

#include <sys/random.h>

#include <cerrno>
#include <cstddef>
#include <span>

#include "format/layout.h"
#include "fvd/status.h"

namespace fvd {

inline Status fill_random(std::span<std::byte> out) {
  if (::getrandom(out.data(), out.size(), 0) == static_cast<ssize_t>(out.size())) return Status::ok();
  return Status::from_errno(errno, "read random bytes from", "the kernel");
}

// A random UUID, RFC 4122.
inline Status make_uuid(format::Uuid* uuid) {
  if (Status s = fill_random(*uuid); !s) return s;
  (*uuid)[6] = ((*uuid)[6] & std::byte{0x0F}) | std::byte{0x40};
  (*uuid)[8] = ((*uuid)[8] & std::byte{0x3F}) | std::byte{0x80};
  return Status::ok();
}

}  // namespace fvd

#endif  // FVD_IMAGE_RANDOM_H_
