#include "mount/counting_writers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "mount/mount_fixture.h"

namespace fvd::test {
namespace {

enum class Way { kDirect, kBuffered, kMapped, kNeverSynced };

struct WriterKind {
  Way way;
  std::size_t sectors;
  unsigned sync_every;  // 0 = never
};
constexpr std::array<WriterKind, CountingWriters::kCount> kWriters{{{Way::kDirect, 9, 8},
                                                                    {Way::kBuffered, 3, 4},
                                                                    {Way::kMapped, 1, 8},
                                                                    {Way::kNeverSynced, 1, 0},
                                                                    {Way::kDirect, 1, 1}}};

// A store into a mapping of a dead mount is a SIGBUS, which ends the store and nothing else.
thread_local sigjmp_buf g_store_failed;
void store_failed(int /*signal*/) { siglongjmp(g_store_failed, 1); }

bool store(char* to, const char* from, std::size_t size) {
  if (sigsetjmp(g_store_failed, 1) != 0) return false;
  std::memcpy(to, from, size);
  return true;
}

void raise_to(std::atomic<std::uint64_t>& number, std::uint64_t value) {
  std::uint64_t have = number;
  while (have < value && !number.compare_exchange_weak(have, value)) {
  }
}

}  // namespace

CountedWrites CountingWriters::writes() {
  std::vector<CountedWrites::Region> regions;
  for (const WriterKind& kind : kWriters) regions.push_back({kind.sectors, kind.way == Way::kMapped});
  return CountedWrites(regions);
}

struct sigaction CountingWriters::survive_failed_stores() {
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = store_failed;
  (void)::sigaction(SIGBUS, &action, &old);
  return old;
}

CountingWriters::CountingWriters(std::string file, const Numbers& from) : file_(std::move(file)) {
  for (std::size_t w = 0; w < kCount; ++w) {
    State& state = states_[w];
    state.start = state.issued = state.returned = state.synced = from[w];
  }
  for (std::size_t w = 0; w < kCount; ++w) threads_.emplace_back([this, w] { run(w); });
}

void CountingWriters::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void CountingWriters::pause() {
  std::unique_lock lock(mutex_);
  paused_ = true;
  changed_.wait(lock, [this] { return running_ == 0; });
}

void CountingWriters::resume() {
  {
    const std::lock_guard lock(mutex_);
    paused_ = false;
  }
  changed_.notify_all();
}

void CountingWriters::rebase() {
  for (State& state : states_) state.start = state.issued.load();
}

void CountingWriters::fail(const std::string& text) {
  if (dying_) return;
  const std::lock_guard lock(mutex_);
  if (error_.empty()) error_ = text;
}

std::string CountingWriters::error() {
  const std::lock_guard lock(mutex_);
  return error_;
}

void CountingWriters::note_synced(const Bounds& then, bool mapped) {
  for (std::size_t w = 0; w < kCount; ++w) {
    if (kWriters[w].way == Way::kMapped && !mapped) continue;
    raise_to(states_[w].synced, then[w].least);
  }
}

CountingWriters::Bounds CountingWriters::bounds(std::atomic<std::uint64_t> State::*least) const {
  Bounds result;
  for (const State& state : states_) result.push_back({state.start, (state.*least).load(), 0});
  for (std::size_t w = 0; w < kCount; ++w) result[w].most = states_[w].issued;
  return result;
}

void CountingWriters::run(std::size_t w) {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopped_ || !paused_; });
      if (stopped_) return;
      ++running_;
    }
    const bool more = write(w);
    {
      const std::lock_guard lock(mutex_);
      --running_;
    }
    changed_.notify_all();
    if (!more) return;
  }
}

bool CountingWriters::write(std::size_t w) {
  const WriterKind& kind = kWriters[w];
  State& state = states_[w];
  const Fd fd(::open(file_.c_str(), O_RDWR | O_CLOEXEC | (kind.way == Way::kDirect ? O_DIRECT : 0)));
  if (fd.get() < 0) return lost(w, "open");
  struct Open {
    std::atomic<std::size_t>& count;
    explicit Open(std::atomic<std::size_t>& number) : count(number) { ++count; }
    ~Open() { --count; }
  } const open(open_);
  const std::uint64_t region = CountedWrites::kRegionSize;
  struct Mapping {
    void* at = MAP_FAILED;
    ~Mapping() {
      if (at != MAP_FAILED) ::munmap(at, CountedWrites::kRegionSize);
    }
  } mapping;
  if (kind.way == Way::kMapped) {
    mapping.at = ::mmap(nullptr, region, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), static_cast<off_t>(w * region));
    if (mapping.at == MAP_FAILED) return lost(w, "mmap");
  }
  const std::unique_ptr<char, decltype(&std::free)> buffer(static_cast<char*>(std::aligned_alloc(4096, 8192)),
                                                           &std::free);
  const std::size_t length = writes_.length(w);
  while (!paused_ && !stopped_) {
    const std::uint64_t number = state.issued + 1;
    const std::uint64_t at = writes_.offset(w, number);
    writes_.fill(w, number, buffer.get());
    state.issued = number;
    if (kind.way == Way::kMapped) {
      if (!store(static_cast<char*>(mapping.at) + (at - w * region), buffer.get(), length)) return lost(w, "store");
    } else if (::pwrite(fd.get(), buffer.get(), length, static_cast<off_t>(at)) != static_cast<ssize_t>(length)) {
      return lost(w, "pwrite");
    }
    state.returned = number;
    if (kind.sync_every != 0 && number % kind.sync_every == 0) {
      const int failed = kind.way == Way::kMapped     ? ::msync(mapping.at, region, MS_SYNC)
                         : kind.way == Way::kBuffered ? ::fsync(fd.get())
                                                      : ::fdatasync(fd.get());
      if (failed != 0) return lost(w, "sync");
      raise_to(state.synced, number);
    } else if (kind.sync_every == 0) {
      ::usleep(100);
    }
  }
  return true;
}

bool CountingWriters::lost(std::size_t w, const char* what) {
  fail("writer " + std::to_string(w) + ": " + what + ": " + strerror(errno));
  return false;
}

}  // namespace fvd::test
