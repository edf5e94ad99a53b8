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
// The kernel gives requests to the threads that wait for one in turns. Two that take turns stay on their processors
// with what they have in their caches; more are slower for one request at a time, and faster for several.
constexpr unsigned kFewestTakers = 2;
constexpr unsigned kWindow = 256;        // requests between two looks at how many takers are wanted
constexpr unsigned kMany = kWindow / 8;  // so many of them left nobody to take the next, or are large: one taker more
constexpr unsigned kFew = kWindow / 64;  // fewer: one less
// The kernel splits a long O_DIRECT read into READs that come at once. Two takers would serve them one after the other
// on one processor: the second is woken there behind the first, and has run too recently to be moved to an idle one.
constexpr std::size_t kLargeRead = 128U << 10;
constexpr unsigned kLargeWrites = 4;  // served or waited for at a time: more are slower, and their memory stays
constexpr std::size_t kPage = 4096;
constexpr std::size_t kKept = 256U << 10;  // of each worker's memory: a READ as long as the kernel makes it by default
constexpr std::size_t kWriteHead = sizeof(fuse_in_header) + sizeof(fuse_write_in);

thread_local std::span<std::byte> t_spare;

// Memory for a request of up to `size` bytes beside its head, which lies so that the data of a WRITE are page-aligned.
class Buffer {
 public:
  explicit Buffer(std::size_t size) : size_(kPage + size) {
    void* memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    (void)::madvise(memory, size_, MADV_NOHUGEPAGE);
    memory_ = static_cast<std::byte*>(memory);
  }
  Buffer(Buffer&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) = delete;
  ~Buffer() {
    if (memory_ != nullptr) (void)::munmap(memory_, size_);
  }

  [[nodiscard]] std::byte* request() const { return memory_ + kPage - kWriteHead; }
  [[nodiscard]] std::size_t capacity() const { return size_ - kPage + kWriteHead; }
  // What a request of that length leaves of the memory that is kept.
  [[nodiscard]] std::span<std::byte> after(std::size_t length) const {
    const std::size_t used = (kPage - kWriteHead + length + kPage - 1) / kPage * kPage;
    return {memory_ + std::min(used, size_), std::min(kKept, size_ - std::min(used, size_))};
  }
  // Gives the memory of large requests back to the system.
  void shrink() const {
    constexpr std::size_t kept = 2 * kPage + kKept;
    if (size_ > kept) (void)::madvise(memory_ + kept, size_ - kept, MADV_DONTNEED);
  }

 private:
  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
};

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
    buffers_.reserve(kThreads);
    for (unsigned i = 0; i < kThreads; ++i) buffers_.emplace_back(kMaxWrite);
    threads_.reserve(kThreads);
  }
  ~Workers() { (void)::sem_destroy(&look_); }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  int run() {
    try {
      for (const Buffer& buffer : buffers_) {
        threads_.emplace_back([this, &buffer] {
          work(buffer);
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
  void work(const Buffer& buffer) {
    bool grown = false;  // one of those that may keep the memory of a large request
    while (stay_taker() || become_taker(buffer, &grown)) {
      const ssize_t count = take(buffer);
      const auto length = static_cast<std::size_t>(std::max<ssize_t>(count, 0));
      const bool large = length > kWriteHead + kKept;
      if (large) ++large_;
      const bool last = --takers_ == 0;
      note_taken(last || is_large_read(buffer));
      if (last) call_another();
      if (count <= 0) {
        if (count < 0) error_ = static_cast<int>(count);
        fuse_session_exit(session_);
        return;
      }
      t_spare = buffer.after(length);
      fuse_buf request{};
      request.size = length;
      request.mem = buffer.request();
      fuse_session_process_buf(session_, &request);
      if (large) {
        --large_;
        grown = grown || may_grow();
        if (!grown) buffer.shrink();
      }
      if (fuse_session_exited(session_) != 0) return;
    }
  }

  // Becomes one of those that wait for a request, unless they are enough.
  bool stay_taker() {
    unsigned takers = takers_;
    const unsigned large = large_;
    while (takers < wanted_ && (large == 0 || takers + large < kLargeWrites)) {
      if (takers_.compare_exchange_weak(takers, takers + 1)) return true;
    }
    return false;
  }

  bool become_taker(const Buffer& buffer, bool* grown) {
    if (*grown) {
      buffer.shrink();
      *grown = false;
      --grown_;
    }
    bool is_taker = false;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || (is_taker = stay_taker()); });
    return is_taker;
  }

  bool may_grow() {
    if (grown_.fetch_add(1) < kLargeWrites) return true;
    --grown_;
    return false;
  }

  // Nobody is left to take the next request.
  void call_another() {
    { const std::lock_guard lock(mutex_); }  // whoever is about to sleep sees it, or hears this
    changed_.notify_one();
  }

  void note_taken(bool more_takers_help) {
    if (more_takers_help) ++helped_;
    if (++taken_ % kWindow != 0) return;
    const unsigned helped = helped_.exchange(0);
    const unsigned wanted = wanted_;
    if (helped >= kMany && wanted < kThreads) wanted_ = wanted + 1;
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
  std::atomic<unsigned> large_{0};               // large requests that are being served
  std::atomic<unsigned> grown_{0};               // threads that keep the memory of one
  std::atomic<int> error_{0};
  std::atomic<unsigned> finished_{0};
  sem_t look_{};  // the session may be over
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Buffer> buffers_;  // one a thread
  bool ended_ = false;           // under mutex_
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
