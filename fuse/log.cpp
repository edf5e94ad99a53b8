#include "fuse/log.h"

#include <fcntl.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>

#include "fuse/journald_sink.h"
#include "fuse/lowlevel.h"

namespace fvdfs {
namespace {

std::mutex g_mutex;
std::string g_complaint;  // under g_mutex

spdlog::level::level_enum level_of(fuse_log_level level) {
  if (level <= FUSE_LOG_ERR) return spdlog::level::err;
  if (level == FUSE_LOG_WARNING) return spdlog::level::warn;
  return level == FUSE_LOG_DEBUG ? spdlog::level::debug : spdlog::level::info;
}

__attribute__((format(printf, 2, 0))) void log_libfuse(fuse_log_level level, const char* format, va_list arguments) {
  std::array<char, 1024> line{};
  const int length = std::vsnprintf(line.data(), line.size(), format, arguments);
  std::string text(line.data(),
                   length < 0 ? 0 : std::min<std::size_t>(static_cast<std::size_t>(length), line.size() - 1));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  // An error while mounting is reported in one line by whoever asked for the mount.
  if (level <= FUSE_LOG_ERR) {
    const std::lock_guard lock(g_mutex);
    g_complaint = text;
  }
  spdlog::log(level <= FUSE_LOG_ERR ? spdlog::level::debug : level_of(level), "libfuse: {}", text);
}

}  // namespace

bool start_log(const Options& options, std::string* error) {
  try {
    const std::string& target = options.log_target;
    spdlog::sink_ptr sink;
    if (!options.log_file.empty()) {
      // spdlog would make missing directories, which is not what a mistyped path asks for.
      const int fd = ::open(options.log_file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
      if (fd < 0) {
        *error = "cannot log to " + options.log_file + ": " + std::generic_category().message(errno);
        return false;
      }
      ::close(fd);
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.log_file);
    } else if (target == "journald") {
      sink = std::make_shared<JournaldSink>();
    } else if (target == "stderr" || (target.empty() && options.foreground)) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::syslog_sink_mt>("fvdfs", LOG_PID, LOG_DAEMON, false);
    }
    auto logger = std::make_shared<spdlog::logger>("fvdfs", std::move(sink));
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z fvdfs[%P] %l: %v");
    const auto default_level = options.debug        ? spdlog::level::debug
                               : options.foreground ? spdlog::level::info
                                                    : spdlog::level::warn;
    logger->set_level(options.log_level.empty() ? default_level : spdlog::level::from_str(options.log_level));
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(logger));
  } catch (const spdlog::spdlog_ex& e) {
    *error = "cannot log to " + (options.log_file.empty() ? options.log_target : options.log_file) + ": " + e.what();
    return false;
  }
  fuse_set_log_func(log_libfuse);
  return true;
}

std::string take_libfuse_complaint() {
  const std::lock_guard lock(g_mutex);
  return std::exchange(g_complaint, {});
}

}  // namespace fvdfs
