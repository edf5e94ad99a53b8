// JournaldSink: hands log lines to systemd's journal through its socket, each with its priority, so that
// `journalctl -t fvdfs -p warning` finds them. The protocol is that of systemd's "Native Journal Protocol" page.
//
// Any thread may log; base_sink's mutex is held during sink_it_().
#ifndef FVDFS_JOURNALD_SINK_H_
#define FVDFS_JOURNALD_SINK_H_

#include <spdlog/sinks/base_sink.h>

#include <mutex>

namespace fvdfs {

class JournaldSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  // Throws spdlog::spdlog_ex when no journal listens on this system.
  JournaldSink();
  ~JournaldSink() override;
  JournaldSink(const JournaldSink&) = delete;
  JournaldSink& operator=(const JournaldSink&) = delete;

 private:
  // A line that the journal cannot take is lost: nothing in the daemon waits for its log.
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override {}

  int socket_;
};

}  // namespace fvdfs

#endif  // FVDFS_JOURNALD_SINK_H_
