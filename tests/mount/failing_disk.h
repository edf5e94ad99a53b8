// FailingDisk: a file on a disk that fails when told, for a daemon that knows nothing of it.
//
// A file system of one file, "disk.fvd", served through libfuse by a thread of the test and kept in a real file. Every
// read, write, punch, truncation and sync of the daemon under test passes through it uncached. Its methods may be
// called from any thread.
#ifndef FVD_TESTS_MOUNT_FAILING_DISK_H_
#define FVD_TESTS_MOUNT_FAILING_DISK_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

struct fuse_session;

namespace fvd::test {

class FailingDisk {
 public:
  enum class What : std::uint8_t { kNothing, kReads, kWrites, kSyncs, kAll };

  // Mounts itself at `directory`, which must exist; the content is kept in `store`. mounted() tells whether it worked.
  FailingDisk(const std::string& directory, const std::string& store);
  ~FailingDisk();
  FailingDisk(const FailingDisk&) = delete;
  FailingDisk& operator=(const FailingDisk&) = delete;

  [[nodiscard]] bool mounted() const { return mounted_; }
  [[nodiscard]] std::string file() const { return directory_ + "/disk.fvd"; }

  // From now on operations of this kind fail with EIO: those from number `from` on, counted from 1, and `count` of
  // them.
  void fail(What what, std::uint64_t from = 1, std::uint64_t count = UINT64_MAX);
  void heal() { fail(What::kNothing); }
  [[nodiscard]] std::uint64_t failures() const { return failures_; }  // since fail()

  // For the server: counts an operation of that kind and tells whether it fails.
  bool fails(What what);
  [[nodiscard]] int store() const { return store_; }

 private:
  const std::string directory_;
  int store_ = -1;
  fuse_session* session_ = nullptr;
  bool mounted_ = false;
  std::atomic<What> what_ = What::kNothing;
  std::atomic<std::uint64_t> from_ = 1, count_ = 0, seen_ = 0, failures_ = 0;
  std::thread thread_;
};

}  // namespace fvd::test

#endif  // FVD_TESTS_MOUNT_FAILING_DISK_H_
