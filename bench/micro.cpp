// What the library itself costs, without FUSE and without a disk: each path of a read and of a write, commits and
// snapshots, on an image in memory. Times are those of one call.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "fvd/image.h"
#include "map/lookup_table.h"
#include "support/memory_file.h"

namespace fvd {
namespace {

constexpr std::uint64_t kBlock = kDefaultBlockSize;
constexpr std::uint64_t kChunk = 64U << 10;  // small, so that many fit into memory
constexpr std::uint32_t kChunks = 1024;

template <typename Outcome>
void must(const Outcome& outcome, const char* what) {
  if (outcome.is_ok()) return;
  (void)std::fprintf(stderr, "%s failed\n", what);
  std::abort();
}

// A disk of `chunks` chunks in memory. Commits happen when asked for, completion never.
class Disk {
 public:
  explicit Disk(std::uint32_t chunks = kChunks) : chunks_(chunks) {
    CreateOptions create;
    create.virtual_size = chunks * kChunk;
    create.chunk_size = kChunk;
    OpenOptions open;
    open.commit_interval = open.completion_idle = std::chrono::milliseconds(0);
    auto file = std::make_unique<test::MemoryFile>();
    must(Image::create_on(*file, create), "create");
    auto opened = Image::open_on(std::move(file), open);
    must(opened, "open");
    image_ = std::move(*opened);
  }

  Image& operator*() { return *image_; }
  Image* operator->() { return image_.get(); }

  void fill() {
    for (std::uint32_t c = 0; c < chunks_; ++c) write(c * kChunk, kChunk);
    must(image_->flush(), "flush");
  }
  void write(std::uint64_t offset, std::size_t size) { must(image_->write(offset, {bytes_.data(), size}), "write"); }
  void read(std::uint64_t offset, std::size_t size) { must(image_->read(offset, {bytes_.data(), size}), "read"); }
  // One block of each chunk.
  void touch_all(std::uint64_t block) {
    for (std::uint32_t c = 0; c < chunks_; ++c) write(c * kChunk + block * kBlock, kBlock);
  }
  void snapshot(const char* name) { must(image_->snapshot_create(name), "snapshot"); }

  // A chunk for each call, all of them before one comes again, neighbours far apart.
  std::uint64_t next_offset() { return (step_ += 389) % chunks_ * kChunk; }

 private:
  std::uint32_t chunks_;
  std::uint32_t step_ = 0;
  std::unique_ptr<Image> image_;
  std::vector<std::byte> bytes_ = std::vector<std::byte>(kChunk, std::byte{0x5A});
};

void table_lookup(benchmark::State& state) {
  LookupTable table;
  must(table.resize(1U << 20), "resize");  // 1 TiB of 1 MiB chunks
  for (std::uint32_t v = 0; v < table.size(); ++v) table.store(v, v + 1);
  std::uint32_t v = 0;
  for (auto _ : state) benchmark::DoNotOptimize(table.load(v = (v + 7919 * 1024 + 1) & (table.size() - 1)));
}
BENCHMARK(table_lookup);

// State of every chunk that is read or written.
enum class Kind { kOwnComplete, kOwnPartial, kShared, kEmpty };

void prepare(Disk& disk, Kind kind) {
  if (kind == Kind::kEmpty) return;
  disk.fill();
  if (kind == Kind::kOwnComplete) return;
  disk.snapshot("full");
  if (kind == Kind::kOwnPartial) disk.touch_all(0);
}

void read_path(benchmark::State& state, Kind kind, std::size_t size) {
  Disk disk;
  prepare(disk, kind);
  for (auto _ : state) disk.read(disk.next_offset(), size);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(size));
}
BENCHMARK_CAPTURE(read_path, own_complete_4k, Kind::kOwnComplete, kBlock);
BENCHMARK_CAPTURE(read_path, own_partial_4k, Kind::kOwnPartial, kBlock);
BENCHMARK_CAPTURE(read_path, shared_4k, Kind::kShared, kBlock);
BENCHMARK_CAPTURE(read_path, empty_4k, Kind::kEmpty, kBlock);
BENCHMARK_CAPTURE(read_path, own_complete_64k, Kind::kOwnComplete, kChunk);
BENCHMARK_CAPTURE(read_path, own_partial_64k, Kind::kOwnPartial, kChunk);

// The state of a chunk does not change: it is what it is from the second write on.
void write_again(benchmark::State& state, Kind kind, std::size_t size) {
  Disk disk;
  prepare(disk, kind);
  for (auto _ : state) disk.write(disk.next_offset(), size);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(size));
}
BENCHMARK_CAPTURE(write_again, own_complete_4k, Kind::kOwnComplete, kBlock);
BENCHMARK_CAPTURE(write_again, own_partial_4k, Kind::kOwnPartial, kBlock);
BENCHMARK_CAPTURE(write_again, own_complete_64k, Kind::kOwnComplete, kChunk);

// The first write into a chunk, which allocates one: as many at a time as there are chunks, then all is as before.
void write_first(benchmark::State& state, Kind kind) {
  Disk disk;
  prepare(disk, kind);
  const auto reset = [&] {
    must(kind == Kind::kShared ? disk->snapshot_goto("full") : disk->discard(0, kChunks * kChunk), "reset");
    must(disk->flush(), "flush");
  };
  for (int pass = 0; pass < 2; ++pass) {  // so that the file in memory has grown before anything is measured
    disk.touch_all(0);
    reset();
  }
  std::uint32_t left = kChunks;
  for (auto _ : state) {
    if (left-- == 0) {
      state.PauseTiming();
      reset();
      left = kChunks - 1;
      state.ResumeTiming();
    }
    disk.write(disk.next_offset(), kBlock);
  }
}
BENCHMARK_CAPTURE(write_first, shared_4k, Kind::kShared)->Iterations(8 * kChunks);
BENCHMARK_CAPTURE(write_first, empty_4k, Kind::kEmpty)->Iterations(8 * kChunks);

// A commit of as many changed partial chunks as the argument says; 0 = nothing was mapped since the last.
void commit(benchmark::State& state) {
  Disk disk;
  prepare(disk, Kind::kOwnPartial);
  must(disk->flush(), "flush");
  std::uint64_t block = 0;
  for (auto _ : state) {
    state.PauseTiming();
    block = block % (kChunk / kBlock - 2) + 1;  // never all blocks, so that the chunks stay partial
    if (block == 1) must(disk->snapshot_goto("full"), "goto");
    for (std::int64_t i = 0; i < state.range(0); ++i) disk.write(disk.next_offset() + block * kBlock, kBlock);
    state.ResumeTiming();
    must(disk->flush(), "flush");
  }
}
BENCHMARK(commit)->Arg(0)->Arg(1)->Arg(32)->Arg(1024)->Iterations(200);

// With as many chunks mapped as the argument says, after one write.
void snapshot_create(benchmark::State& state) {
  Disk disk(static_cast<std::uint32_t>(state.range(0)));
  disk.fill();
  for (auto _ : state) {
    state.PauseTiming();
    disk.write(disk.next_offset(), kBlock);
    state.ResumeTiming();
    disk.snapshot("one");
    state.PauseTiming();
    must(disk->snapshot_delete("one"), "delete");
    state.ResumeTiming();
  }
}
BENCHMARK(snapshot_create)->Arg(256)->Arg(1024)->Arg(4096)->Iterations(100);

}  // namespace
}  // namespace fvd

BENCHMARK_MAIN();
