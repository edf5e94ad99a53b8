#include "cli/progress.h"

#include <ostream>

#include "image/tree_text.h"

namespace fvd::cli {
namespace {

constexpr std::array<int, 3> kSignals{SIGUSR1, SIGINT, SIGTERM};
constexpr std::chrono::milliseconds kBetweenDraws{100};
constexpr std::size_t kBarCells = 40;

std::atomic<int> line_wanted{0};
std::atomic<int> end_wanted{0};
static_assert(std::atomic<int>::is_always_lock_free, "signal handlers set them");

extern "C" void on_signal(int signal) { (signal == SIGUSR1 ? line_wanted : end_wanted).store(1); }

}  // namespace

Progress::Progress(const Streams& streams, std::string what, std::uint64_t total)
    : streams_(streams), what_(std::move(what)), total_(total), next_draw_(std::chrono::steady_clock::now()) {
  line_wanted = 0;
  end_wanted = 0;
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = kSignals[i] == SIGUSR1 ? SA_RESTART : static_cast<int>(SA_RESTART | SA_RESETHAND);
    (void)::sigaction(kSignals[i], &action, &old_[i]);
  }
}

Progress::~Progress() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) (void)::sigaction(kSignals[i], &old_[i], nullptr);
  if (drawn_) streams_.err << "\r\033[K" << std::flush;
}

Status Progress::interrupted() {
  if (end_wanted.load(std::memory_order_relaxed) == 0) return Status::ok();
  return {Code::kBusy, "interrupted by a signal"};
}

void Progress::set(std::uint64_t done, std::uint64_t total) {
  total_.store(total, std::memory_order_relaxed);
  done_.store(done, std::memory_order_relaxed);
  at(done);
}

void Progress::at(std::uint64_t done) {
  if (line_wanted.load(std::memory_order_relaxed) != 0 && line_wanted.exchange(0) != 0) {
    const std::lock_guard lock(drawing_);
    streams_.err << (drawn_ ? "\r\033[K" : "") << "fvd " << what_ << ": " << text(done) << std::endl;
    drawn_ = false;
  }
  if (streams_.progress_bar) draw(done);
}

std::string Progress::text(std::uint64_t done) const {
  const std::uint64_t total = total_.load(std::memory_order_relaxed);
  if (total == 0) return human_bytes(done);
  const auto percent =
      static_cast<unsigned>(static_cast<long double>(std::min(done, total)) * 100 / static_cast<long double>(total));
  return std::to_string(percent) + "% (" + human_bytes(done) + " of " + human_bytes(total) + ")";
}

void Progress::draw(std::uint64_t done) {
  const std::unique_lock lock(drawing_, std::try_to_lock);
  const auto now = std::chrono::steady_clock::now();
  if (!lock || now < next_draw_) return;
  next_draw_ = now + kBetweenDraws;
  drawn_ = true;
  const std::uint64_t total = std::max<std::uint64_t>(1, total_.load(std::memory_order_relaxed));
  const auto cells = static_cast<std::size_t>(static_cast<long double>(std::min(done, total)) * kBarCells /
                                              static_cast<long double>(total));
  streams_.err << "\r" << what_ << " [" << std::string(cells, '#') << std::string(kBarCells - cells, ' ') << "] "
               << text(done) << "\033[K" << std::flush;
}

}  // namespace fvd::cli
