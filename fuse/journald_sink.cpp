#include "fuse/journald_sink.h"

#include <spdlog/common.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

namespace fvdfs {
namespace {

constexpr std::string_view kSocket = "/run/systemd/journal/socket";

int priority_of(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::critical:
      return LOG_CRIT;
    case spdlog::level::err:
      return LOG_ERR;
    case spdlog::level::warn:
      return LOG_WARNING;
    case spdlog::level::info:
      return LOG_INFO;
    default:
      return LOG_DEBUG;
  }
}

// The form that takes any text, of several lines too: name, newline, size as 64 bits little-endian, text, newline.
void append_field(std::string* datagram, std::string_view name, std::string_view text) {
  datagram->append(name).push_back('\n');
  for (unsigned shift = 0; shift < 64; shift += 8) {
    datagram->push_back(static_cast<char>((std::uint64_t{text.size()} >> shift) & 0xFFU));
  }
  datagram->append(text).push_back('\n');
}

}  // namespace

JournaldSink::JournaldSink() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  kSocket.copy(address.sun_path, sizeof(address.sun_path) - 1);
  if (socket_ < 0 || ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const int error = errno;
    if (socket_ >= 0) ::close(socket_);
    throw spdlog::spdlog_ex(std::string(kSocket), error);
  }
}

JournaldSink::~JournaldSink() { ::close(socket_); }

void JournaldSink::sink_it_(const spdlog::details::log_msg& message) {
  std::string datagram;
  append_field(&datagram, "PRIORITY", std::to_string(priority_of(message.level)));
  append_field(&datagram, "SYSLOG_IDENTIFIER", "fvdfs");
  append_field(&datagram, "MESSAGE", {message.payload.data(), message.payload.size()});
  (void)::send(socket_, datagram.data(), datagram.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace fvdfs
