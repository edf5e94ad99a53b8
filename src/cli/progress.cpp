#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <iostream>

#include "image/tree_text.h"

namespace fvd::cli {
namespace {

constexpr std::array<int, 3> kEndSignals{SIGINT, SIGTERM, SIGHUP};
constexpr std::chrono::milliseconds kBetweenDraws{100};
constexpr std::chrono::milliseconds kNotWorthABar{500};  // for work of unknown length
constexpr std::size_t kBarCells = 40;

// The watcher waits on it; posting is what a signal handler may do.
struct Wake {
  Wake() { (void)::sem_init(&semaphore, 0, 0); }
  sem_t semaphore{};
};
sem_t* wake() {
  static Wake wake;
  return &wake.semaphore;
}

std::atomic<sem_t*> to_wake{nullptr};
std::atomic<int> line_wanted{0};
std::atomic<int> end_wanted{0};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<sem_t*>::is_always_lock_free,
              "signal handlers use them");

extern "C" void on_line_signal(int) {
  const int saved = errno;
  line_wanted.store(1);
  if (sem_t* const semaphore = to_wake.load(); semaphore != nullptr) (void)::sem_post(semaphore);
  errno = saved;
}
extern "C" void on_end_signal(int) { end_wanted.store(1); }

// What a line on the terminal that `err` is may take without going on in the next, where it could not be taken away.
std::size_t columns(const std::ostream& err) {
  winsize size{};
  const bool known = &err == &std::cerr && ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return known ? size.ws_col - 1U : std::string::npos;
}

void wait_for(std::chrono::milliseconds time) {
  timespec until{};
  (void)::clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += std::chrono::nanoseconds(time).count();
  until.tv_sec += until.tv_nsec / 1'000'000'000;
  until.tv_nsec %= 1'000'000'000;
  (void)::sem_timedwait(wake(), &until);
}

}  // namespace

Progress::Progress(const Streams& streams, std::string what)
    : streams_(streams), what_(std::move(what)), began_(Clock::now()) {
  line_wanted = 0;
  to_wake = wake();
  watcher_ = std::thread([this] { watch(); });
  struct sigaction action {};
  action.sa_handler = on_line_signal;
  action.sa_flags = SA_RESTART;
  (void)::sigaction(SIGUSR1, &action, &old_);
}

Progress::~Progress() {
  (void)::sigaction(SIGUSR1, &old_, nullptr);
  ended_ = true;
  (void)::sem_post(wake());
  watcher_.join();
}

void Progress::watch() {
  for (;;) {
    if (streams_.progress_bar) {
      wait_for(kBetweenDraws);
    } else {
      (void)::sem_wait(wake());
    }
    if (line_wanted.exchange(0) != 0) print_line();
    if (ended_) return;
    if (!streams_.progress_bar) continue;
    const std::lock_guard lock(drawing_);
    if (in_part_ && (shown_ || Clock::now() - part_began_ >= kNotWorthABar)) draw();
  }
}

void Progress::print_line() {
  const std::lock_guard lock(drawing_);
  streams_.err << (drawn_.empty() ? "" : "\r\033[K") + ("fvd " + what_ + ": " + text() + "\n") << std::flush;
  drawn_.clear();
}

// Work of known length has a bar from its beginning, however short it is.
void Progress::show_at_once() {
  if (!streams_.progress_bar || shown_.exchange(true)) return;
  const std::lock_guard lock(drawing_);
  draw();
}

std::string Progress::text() const {
  const std::uint64_t total = total_;
  const std::uint64_t done = done_;
  if (in_part_ && total != 0) {
    const auto percent =
        static_cast<unsigned>(static_cast<long double>(std::min(done, total)) * 100 / static_cast<long double>(total));
    return std::to_string(percent) + "% (" + human_bytes(done) + " of " + human_bytes(total) + ")";
  }
  if (in_part_ && done != 0) return human_bytes(done) + " so far";
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - began_).count();
  return (in_part_ && !doing_.empty() ? doing_ + ", " : "") + std::to_string(seconds) + " s so far";
}

void Progress::draw() {
  const std::uint64_t total = total_;
  const std::string numbers = text();
  const std::size_t room = columns(streams_.err);
  const std::size_t without_bar = what_.size() + 4 + numbers.size();
  const std::size_t bar = total == 0 || room <= without_bar ? 0 : std::min(kBarCells, room - without_bar);
  std::string line = what_;
  if (bar != 0) {
    const auto cells = static_cast<std::size_t>(static_cast<long double>(std::min<std::uint64_t>(done_, total)) *
                                                static_cast<long double>(bar) / static_cast<long double>(total));
    line += " [" + std::string(cells, '#') + std::string(bar - cells, ' ') + "] ";
  } else {
    line += ": ";
  }
  line = "\r" + (line + numbers).substr(0, room) + "\033[K";
  if (line == drawn_) return;
  streams_.err << line << std::flush;
  drawn_ = std::move(line);
}

Progress::Part::Part(Progress& progress, std::string doing, std::uint64_t total) : progress_(progress) {
  {
    const std::lock_guard lock(progress.drawing_);
    progress.in_part_ = true;
    progress.doing_ = std::move(doing);
    progress.part_began_ = Clock::now();
    progress.done_ = 0;
    progress.total_ = total;
    progress.shown_ = false;
  }
  if (total != 0) progress.show_at_once();
}

Progress::Part::~Part() {
  const std::lock_guard lock(progress_.drawing_);
  progress_.in_part_ = false;
  if (!progress_.drawn_.empty()) progress_.streams_.err << "\r\033[K" << std::flush;
  progress_.drawn_.clear();
}

void Progress::Part::advance(std::uint64_t bytes) { progress_.done_.fetch_add(bytes, std::memory_order_relaxed); }

void Progress::Part::set(std::uint64_t done, std::uint64_t total) {
  progress_.total_.store(total, std::memory_order_relaxed);
  progress_.done_.store(done, std::memory_order_relaxed);
  if (total != 0) progress_.show_at_once();
}

Interruptible::Interruptible() {
  end_wanted = 0;
  for (std::size_t i = 0; i < kEndSignals.size(); ++i) {
    struct sigaction action {};
    action.sa_handler = on_end_signal;
    action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
    (void)::sigaction(kEndSignals[i], &action, &old_[i]);
    const bool nohup = kEndSignals[i] == SIGHUP && old_[i].sa_handler == SIG_IGN;
    if (nohup) (void)::sigaction(SIGHUP, &old_[i], nullptr);
  }
}

Interruptible::~Interruptible() {
  for (std::size_t i = 0; i < kEndSignals.size(); ++i) (void)::sigaction(kEndSignals[i], &old_[i], nullptr);
  end_wanted = 0;
}

Status interrupted() {
  if (end_wanted.load(std::memory_order_relaxed) == 0) return Status::ok();
  return {Code::kBusy, "interrupted by a signal"};
}

}  // namespace fvd::cli
