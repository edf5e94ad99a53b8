#include "fuse/workers.h"

#include <linux/fuse.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "fuse/transport.h"

namespace fvdfs {
namespace {

constexpr unsigned kThreads = 10;  // all kept: making and unmaking threads on every burst costs most of the speed
constexpr unsigned kLargeBuffers = 4;
// The kernel gives requests to the threads that wait for one in turns. Two that take turns stay on their processors
// with what they have in their caches; more are slower for one request at a time, and faster for several.
constexpr unsigned kFewestTakers = 2;
constexpr unsigned kWindow = 256;        // requests between two looks at how many takers are wanted
constexpr unsigned kMany = kWindow / 8;  // so many of them left nobody to take the next, or are large: one taker more
constexpr unsigned kFew = kWindow / 64;  // fewer: one less
// The kernel splits a long O_DIRECT read into READs that come at once. Two takers would serve them one after the other
// on one processor: the second is woken there behind the first, and has run too recently to be moved to an idle one.
constexpr std::size_t kLargeRead = 128U << 10;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kSmall = 64U << 10;  // longest request that is copied to hand the buffer on, without its head
constexpr std::size_t kOwnBuffer = 256U << 10;  // the longest READ that the kernel sends unless told otherwise
constexpr std::size_t kWriteHead = sizeof(fuse_in_header) + sizeof(fuse_write_in);

thread_local std::span<std::byte> t_spare;

// Memory for a request of up to `size` bytes beside its head, which lies so that the data of a WRITE are page-aligned.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size) : size_(kPage + size) {
    void* memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    (void)::madvise(memory, size_, MADV_NOHUGEPAGE);
    memory_ = static_cast<std::byte*>(memory);
  }
  Buffer(Buffer&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() {
    if (memory_ != nullptr) (void)::munmap(memory_, size_);
  }

  explicit operator bool() const { return memory_ != nullptr; }
  [[nodiscard]] std::byte* request() const { return memory_ + kPage - kWriteHead; }
  [[nodiscard]] std::size_t capacity() const { return size_ - kPage + kWriteHead; }
  [[nodiscard]] std::span<std::byte> after(std::size_t length) const {
    const std::size_t used = (kPage - kWriteHead + length + kPage - 1) / kPage * kPage;
    return {memory_ + std::min(used, size_), size_ - std::min(used, size_)};
  }

 private:
  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
};

// What a disk is asked for all the time, and is served without waiting for another request.
bool is_common(const Buffer& buffer) {
  fuse_in_header head{};
  std::memcpy(&head, buffer.request(), sizeof(head));
  return head.opcode == FUSE_READ || head.opcode == FUSE_WRITE || head.opcode == FUSE_FSYNC;
}

bool is_large_read(const Buffer& buffer) {
  fuse_in_header head{};
  std::memcpy(&head, buffer.request(), sizeof(head));
  if (head.opcode != FUSE_READ) return false;
  fuse_read_in read{};
  std::memcpy(&read, buffer.request() + sizeof(head), sizeof(read));
  return read.size >= kLargeRead;
}

class Workers {
 public:
  explicit Workers(fuse_session* session) : session_(session), fd_(fuse_session_fd(session)) {
    (void)::sem_init(&look_, 0, 0);
    for (unsigned i = 0; i < kLargeBuffers; ++i) free_.emplace_back(kMaxWrite);
    for (unsigned i = 0; i < kThreads; ++i) own_.emplace_back(kOwnBuffer);
    threads_.reserve(kThreads);
  }
  ~Workers() { (void)::sem_destroy(&look_); }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  int run() {
    try {
      for (const Buffer& own : own_) {
        threads_.emplace_back([this, &own] {
          work(own);
          ++finished_;
          (void)::sem_post(&look_);
        });
      }
    } catch (const std::system_error& problem) {
      if (threads_.empty()) return -problem.code().value();  // else fewer will do
    }
    while (fuse_session_exited(session_) == 0) (void)::sem_wait(&look_);
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    // A thread may be just about to sleep when the signal comes, so once is not enough.
    while (finished_ < threads_.size()) {
      for (std::thread& thread : threads_) (void)::pthread_kill(thread.native_handle(), SIGUSR1);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    for (std::thread& thread : threads_) thread.join();
    return error_;
  }

 private:
  void work(const Buffer& own) {
    Buffer large;
    while (stay_taker(&large) || become_taker(&large)) {
      const ssize_t count = take(large);
      const bool last = --takers_ == 0;
      note_taken(last || (count > 0 && is_large_read(large)));
      const bool nobody_else = last && !call_another();
      if (count <= 0) {
        if (count < 0) error_ = static_cast<int>(count);
        fuse_session_exit(session_);
        return;
      }
      const auto length = static_cast<std::size_t>(count);
      const Buffer* used = &large;
      // Any other may take long, or need another request served first.
      if (length <= kWriteHead + kSmall && (nobody_else || !is_common(large))) {
        std::memcpy(own.request(), large.request(), length);
        release(std::move(large), true);
        used = &own;
      }
      t_spare = used->after(length);
      fuse_buf request{};
      request.size = length;
      request.mem = used->request();
      fuse_session_process_buf(session_, &request);
      if (fuse_session_exited(session_) != 0) return;
    }
  }

  // One that has a buffer takes the next request too, unless enough others wait for one.
  bool stay_taker(Buffer* buffer) {
    if (!*buffer) return false;
    if (takers_.fetch_add(1) < wanted_) return true;
    --takers_;
    release(std::move(*buffer), false);
    return false;
  }

  bool become_taker(Buffer* buffer) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_ || (!free_.empty() && takers_ < wanted_); });
    if (ended_) return false;
    *buffer = std::move(free_.back());
    free_.pop_back();
    ++takers_;
    return true;
  }

  void release(Buffer&& buffer, bool call) {
    {
      const std::lock_guard lock(mutex_);
      free_.push_back(std::move(buffer));
    }
    if (call) changed_.notify_one();
  }

  // Nobody is left to take the next request. False when there is no buffer for another.
  bool call_another() {
    {
      const std::lock_guard lock(mutex_);
      if (free_.empty()) return false;
    }
    changed_.notify_one();
    return true;
  }

  void note_taken(bool more_takers_help) {
    if (more_takers_help) ++helped_;
    if (++taken_ % kWindow != 0) return;
    const unsigned helped = helped_.exchange(0);
    const unsigned wanted = wanted_;
    if (helped >= kMany && wanted < kLargeBuffers) wanted_ = wanted + 1;
    if (helped < kFew && wanted > kFewestTakers) wanted_ = wanted - 1;
  }

  // Bytes of the next request, 0 when the session is over, or a negative errno.
  ssize_t take(const Buffer& buffer) {
    for (;;) {
      const ssize_t count = take_request(fd_, buffer.request(), buffer.capacity());
      const int error = errno;
      if (count > 0) return count;
      if (fuse_session_exited(session_) != 0) return 0;
      // ENOENT: the caller was interrupted before we came to take it.
      if (count < 0 && (error == ENOENT || error == EINTR || error == EAGAIN)) continue;
      return count == 0 || error == ENODEV ? 0 : -error;
    }
  }

  fuse_session* session_;
  int fd_;
  std::atomic<unsigned> takers_{0};              // threads that wait for a request
  std::atomic<unsigned> wanted_{kFewestTakers};  // how many of them
  std::atomic<unsigned> taken_{0};               // requests
  std::atomic<unsigned> helped_{0};              // of this window's, those with which more takers help
  std::atomic<int> error_{0};
  std::atomic<unsigned> finished_{0};
  sem_t look_{};  // the session may be over
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Buffer> own_;   // one a thread
  std::vector<Buffer> free_;  // under mutex_; the last one given back is the next one taken
  bool ended_ = false;        // under mutex_
  std::vector<std::thread> threads_;
};

}  // namespace

int serve_requests(fuse_session* session) {
  try {
    return Workers(session).run();
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  }
}

std::span<std::byte> spare_memory() { return t_spare; }

}  // namespace fvdfs
