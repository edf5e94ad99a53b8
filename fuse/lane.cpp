#include "fuse/lane.h"

#include <malloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <new>
#include <utility>

namespace fvdfs {

void Lane::start() {
  thread_ = std::thread([this] { loop(); });
}

void Lane::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Lane::run(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Lane::loop() {
  thread_id_.store(::gettid(), std::memory_order_release);
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    try {
      job();
    } catch (const std::bad_alloc&) {
      spdlog::error("no memory for work that nobody waits for; it was left undone");
    }
    job = nullptr;
    (void)::malloc_trim(0);  // what the operation took for a moment goes back
    lock.lock();
  }
}

}  // namespace fvdfs
