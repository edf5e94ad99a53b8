#include "fuse/transport.h"

#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fvdfs {
namespace {

// Newer than the headers of Debian 12.
constexpr std::uint64_t kDirectIoAllowMmap = 1ULL << 36;
// From Linux 6.12 on a direct write drops the cached pages of its range afterwards too.
constexpr std::uint32_t kMinorThatDropsAfterwards = 41;

// The exchange of the first request. A process serves one session.
enum class Stage : int { kWaiting, kAsked, kDone };
std::atomic<Stage> g_stage{Stage::kWaiting};
std::atomic<std::uint64_t> g_unique{0};     // of the first request
std::atomic<std::uint64_t> g_additions{0};  // capabilities that the kernel offers and libfuse cannot ask for
std::atomic<bool> g_can_pass_cache{false};

template <typename T>
T field(const std::byte* from, std::size_t size, std::size_t offset) {
  T value{};
  if (size >= offset + sizeof(value)) std::memcpy(&value, from + offset, sizeof(value));
  return value;
}

void note_request(const std::byte* request, std::size_t size) {
  fuse_in_header header{};
  if (size < sizeof(header)) return;
  std::memcpy(&header, request, sizeof(header));
  if (header.opcode != FUSE_INIT) return;
  constexpr std::size_t kBody = sizeof(header);
  std::uint64_t offered = field<std::uint32_t>(request, size, kBody + offsetof(fuse_init_in, flags));
  if ((offered & FUSE_INIT_EXT) != 0) {
    offered |= std::uint64_t{field<std::uint32_t>(request, size, kBody + offsetof(fuse_init_in, flags2))} << 32;
  }
  const auto minor = field<std::uint32_t>(request, size, kBody + offsetof(fuse_init_in, minor));
  std::uint64_t additions = offered & FUSE_HANDLE_KILLPRIV_V2;
  if (minor >= kMinorThatDropsAfterwards && (offered & kDirectIoAllowMmap) != 0) {
    additions |= kDirectIoAllowMmap | FUSE_INIT_EXT;
  }
  g_additions = additions;
  g_unique = header.unique;
  g_stage = additions != 0 ? Stage::kAsked : Stage::kDone;
}

void add_capability(const iovec* parts, int count) {
  fuse_out_header header{};
  if (parts[0].iov_len < sizeof(header)) return;
  std::memcpy(&header, parts[0].iov_base, sizeof(header));
  if (header.unique != g_unique || header.error != 0) return;
  g_stage = Stage::kDone;
  const auto add = [&](std::size_t offset, std::uint32_t bits) {
    if (count < 2 || parts[1].iov_len < offset + sizeof(bits)) return false;
    auto* place = static_cast<std::byte*>(parts[1].iov_base) + offset;
    std::uint32_t flags = 0;
    std::memcpy(&flags, place, sizeof(flags));
    flags |= bits;
    std::memcpy(place, &flags, sizeof(flags));
    return true;
  };
  const std::uint64_t additions = g_additions;
  const auto high = static_cast<std::uint32_t>(additions >> 32);
  const bool extended = high != 0 && add(offsetof(fuse_init_out, flags2), high);
  const auto low = static_cast<std::uint32_t>(additions);
  (void)add(offsetof(fuse_init_out, flags), extended ? low : low & ~std::uint32_t{FUSE_INIT_EXT});
  g_can_pass_cache = extended;
}

ssize_t read_request(int fd, void* buffer, std::size_t size, void* /*user_data*/) {
  return take_request(fd, static_cast<std::byte*>(buffer), size);
}

ssize_t write_reply(int fd, iovec* parts, int count, void* /*user_data*/) {
  if (g_stage.load(std::memory_order_relaxed) == Stage::kAsked) add_capability(parts, count);
  return ::writev(fd, parts, count);
}

}  // namespace

ssize_t take_request(int fd, std::byte* buffer, std::size_t size) {
  const ssize_t count = ::read(fd, buffer, size);
  if (count > 0 && g_stage.load(std::memory_order_relaxed) == Stage::kWaiting) {
    note_request(buffer, static_cast<std::size_t>(count));
  }
  return count;
}

bool can_pass_the_page_cache() { return g_can_pass_cache.load(std::memory_order_relaxed); }

// libfuse 3.14 cannot ask for parallel writes, but the kernel's reply is a plain structure.
int reply_open_past_cache(fuse_req_t req, const fuse_file_info& fi) {
  fuse_open_out out{};
  out.fh = fi.fh;
  out.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES | (fi.keep_cache != 0 ? FOPEN_KEEP_CACHE : 0U) |
                   (fi.noflush != 0 ? FOPEN_NOFLUSH : 0U);
  return fuse_reply_buf(req, reinterpret_cast<const char*>(&out), sizeof(out));
}

bool install_transport(fuse_session* session) {
  fuse_custom_io io{};
  io.read = read_request;
  io.writev = write_reply;
  return fuse_session_custom_io(session, &io, fuse_session_fd(session)) == 0;
}

}  // namespace fvdfs
