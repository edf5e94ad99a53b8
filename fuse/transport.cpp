#include "fuse/transport.h"

#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fuse/lowlevel.h"

namespace fvdfs {
namespace {

// The exchange of the first request. A process serves one session.
enum class Stage : int { kWaiting, kAsked, kDone };
std::atomic<Stage> g_stage{Stage::kWaiting};
std::atomic<std::uint64_t> g_unique{0};  // of the first request

void note_request(const std::byte* request, std::size_t size) {
  fuse_in_header header{};
  if (size < sizeof(header)) return;
  std::memcpy(&header, request, sizeof(header));
  if (header.opcode != FUSE_INIT) return;
  std::uint32_t flags = 0;
  constexpr std::size_t kFlags = sizeof(header) + offsetof(fuse_init_in, flags);
  if (size >= kFlags + sizeof(flags)) std::memcpy(&flags, request + kFlags, sizeof(flags));
  g_unique = header.unique;
  g_stage = (flags & FUSE_HANDLE_KILLPRIV_V2) != 0 ? Stage::kAsked : Stage::kDone;
}

void add_capability(const iovec* parts, int count) {
  fuse_out_header header{};
  if (parts[0].iov_len < sizeof(header)) return;
  std::memcpy(&header, parts[0].iov_base, sizeof(header));
  if (header.unique != g_unique || header.error != 0) return;
  g_stage = Stage::kDone;
  constexpr std::size_t kFlags = offsetof(fuse_init_out, flags);
  std::uint32_t flags = 0;
  if (count < 2 || parts[1].iov_len < kFlags + sizeof(flags)) return;
  auto* place = static_cast<std::byte*>(parts[1].iov_base) + kFlags;
  std::memcpy(&flags, place, sizeof(flags));
  flags |= FUSE_HANDLE_KILLPRIV_V2;
  std::memcpy(place, &flags, sizeof(flags));
}

ssize_t read_request(int fd, void* buffer, std::size_t size, void* /*user_data*/) {
  const ssize_t count = ::read(fd, buffer, size);
  if (count > 0 && g_stage.load(std::memory_order_relaxed) == Stage::kWaiting) {
    note_request(static_cast<const std::byte*>(buffer), static_cast<std::size_t>(count));
  }
  return count;
}

ssize_t write_reply(int fd, iovec* parts, int count, void* /*user_data*/) {
  if (g_stage.load(std::memory_order_relaxed) == Stage::kAsked) add_capability(parts, count);
  return ::writev(fd, parts, count);
}

}  // namespace

bool install_transport(fuse_session* session) {
  fuse_custom_io io{};
  io.read = read_request;
  io.writev = write_reply;
  return fuse_session_custom_io(session, &io, fuse_session_fd(session)) == 0;
}

}  // namespace fvdfs
