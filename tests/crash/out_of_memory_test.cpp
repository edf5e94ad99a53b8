// An allocation that fails, at each place of each operation: the operation fails, the process goes on, and what the
// disk holds is the state before or after. What was acknowledged is there.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <new>
#include <thread>

#include "support/image_rig.h"

namespace {

std::atomic<long> allocations_left{-1};  // until one fails; below 0: none does

}  // namespace

void* operator new(std::size_t size) {
  if (allocations_left.load() >= 0 && allocations_left.fetch_sub(1) == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
// What goes on without (a sort's second buffer) gets it always; it is freed by the operators below.
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  return std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 8 * kSmallChunk;

struct Prepared {
  Prepared() {
    const auto image = open_disk(*disk);
    write_all(*image, 0, pattern(4 * kSmallChunk, 1));
    take(*image, "s");
    snapshot = read_all(*image);
    write_all(*image, kSmallChunk + 4096, pattern(8192, 2));
    write_all(*image, 5 * kSmallChunk, pattern(kSmallChunk, 3));
    EXPECT_OK(image->close());
  }
  std::shared_ptr<CrashDisk> disk = make_disk(small_chunks(kSize));
  Bytes snapshot;
};

struct Operation {
  const char* name;
  std::function<Status(Image&)> run;
};

const std::vector<Operation>& operations() {
  static const Bytes data = pattern(5000, 7);
  static const std::vector<Operation> all{
      {"create", [](Image& image) { return image.snapshot_create("t").status(); }},
      {"delete", [](Image& image) { return image.snapshot_delete("s"); }},
      {"goto", [](Image& image) { return image.snapshot_goto("s"); }},
      {"rename", [](Image& image) { return image.snapshot_rename("s", "r"); }},
      {"grow", [](Image& image) { return image.resize(2 * kSize, false); }},
      {"shrink", [](Image& image) { return image.resize(kSize / 2, true); }},
      {"compact", [](Image& image) { return image.compact({}); }},
      {"discard", [](Image& image) { return image.discard(0, 3 * kSmallChunk); }},
      {"preallocate", [](Image& image) { return image.preallocate(0, kSize); }},
      {"write", [](Image& image) { return image.write(2 * kSmallChunk + 100, data).status(); }},
      {"copy", [](Image& image) { return image.copy_range(0, 0, 6 * kSmallChunk, kSmallChunk).status(); }},
      {"import",
       [](Image& image) -> Status {
         ImportOptions options;
         options.name = "i";
         options.virtual_size = kSize;
         options.base = 1;
         auto import = image.import_snapshot(options);
         if (!import) return import.status();
         if (Status s = (*import)->write(100, data); !s) return s;
         return (*import)->commit().status();
       }},
  };
  return all;
}

TEST(OutOfMemory, LeavesBeforeOrAfter) {
  const Prepared prepared;
  const Bytes mark = pattern(512, 9);
  for (const Operation& operation : operations()) {
    SCOPED_TRACE(operation.name);
    bool hit = true;
    for (long n = 0; hit; ++n) {
      SCOPED_TRACE(n);
      const auto disk = prepared.disk->clone();
      const auto opened = open_disk(*disk);
      ASSERT_TRUE(opened);
      Image& image = *opened;
      allocations_left = n;
      const Status done = operation.run(image);
      hit = allocations_left.exchange(-1) < 0;
      EXPECT_TRUE(hit || done.is_ok()) << done.message();
      // Where it goes on, what it acknowledges holds.
      const bool writes = image.write(5 * kSmallChunk, mark).is_ok() && image.write(2 * kSmallChunk, mark).is_ok();
      const bool marked = writes && image.flush().is_ok();
      EXPECT_TRUE(marked || image.read_only() || operation.name == std::string("shrink"));
      const auto left = disk->clone();
      expect_sound(*left);
      const auto again = open_disk(*left);
      ASSERT_TRUE(again);
      if (marked) {
        EXPECT_EQ(difference(mark, read_range(*again, 5 * kSmallChunk, 512)), "");
        EXPECT_EQ(difference(mark, read_range(*again, 2 * kSmallChunk, 512)), "");
      }
      const auto snapshot = again->find_snapshot(again->find_snapshot("r") ? "r" : "s");
      if (snapshot) {
        EXPECT_EQ(difference(prepared.snapshot, read_snapshot(*again, snapshot->name)), "");
      } else {
        EXPECT_EQ(operation.name, std::string("delete"));
      }
      if (HasFailure()) return;
    }
  }
}

TEST(OutOfMemory, InTheBackgroundTurnsTheImageReadOnly) {
  const Prepared prepared;
  OpenOptions options = quiet();
  options.commit_interval = std::chrono::milliseconds(1);
  const auto opened = open_disk(*prepared.disk, options);
  ASSERT_TRUE(opened);
  Image& image = *opened;
  const Bytes data = pattern(512, 1);
  // Writes in vain until an allocation fails beside them.
  for (std::uint64_t i = 0; i < 10000 && !image.read_only(); ++i) {
    if (!image.write(i * 4096 % kSize, data)) break;
    allocations_left = 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    allocations_left = -1;
  }
  EXPECT_TRUE(image.read_only());
  EXPECT_CODE(Code::kReadOnly, image.write(0, data));
  EXPECT_EQ(read_snapshot(image, "s").size(), kSize);
}

}  // namespace
}  // namespace fvd::test
