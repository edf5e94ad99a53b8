#include "support/image_rig.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "check/check.h"

namespace fvd::test {

Bytes pattern(std::size_t size, std::uint64_t seed) {
  Bytes bytes(size);
  std::uint64_t state = (seed + 1) * 0x9E3779B97F4A7C15ULL;
  for (std::size_t i = 0; i < size; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const std::uint64_t word = state | 0x0101010101010101ULL;
    std::memcpy(bytes.data() + i, &word, std::min<std::size_t>(8, size - i));
  }
  return bytes;
}

Bytes zeros(std::size_t size) { return Bytes(size); }

CreateOptions small_chunks(std::uint64_t virtual_size, std::uint32_t block_size) {
  CreateOptions options;
  options.virtual_size = virtual_size;
  options.chunk_size = kSmallChunk;
  options.block_size = block_size;
  return options;
}

OpenOptions quiet() {
  OpenOptions options;
  options.commit_interval = std::chrono::milliseconds(0);
  options.completion_idle = std::chrono::milliseconds(0);
  return options;
}

std::shared_ptr<CrashDisk> make_disk(const CreateOptions& options) {
  auto disk = CrashDisk::make();
  const auto file = disk->open();
  EXPECT_OK(Image::create_on(*file, options));
  return disk;
}

std::unique_ptr<Image> open_disk(CrashDisk& disk, OpenOptions options) {
  auto image = Image::open_on(disk.open(), options);
  EXPECT_OK(image);
  return image ? std::move(image).value() : nullptr;
}

Bytes read_range(StateReader& state, std::uint64_t offset, std::uint64_t length) {
  Bytes bytes(length, std::byte{0xEE});
  const auto n = state.read(offset, bytes);
  EXPECT_OK(n);
  if (!n) return {};
  EXPECT_EQ(*n, length) << "short read at " << offset;
  return bytes;
}

Bytes read_all(StateReader& state) { return read_range(state, 0, state.virtual_size()); }

Bytes read_snapshot(Image& image, std::string_view name) {
  const auto info = image.find_snapshot(name);
  EXPECT_TRUE(info.has_value()) << name;
  if (!info) return {};
  const auto reader = image.open_snapshot(info->id);
  EXPECT_OK(reader);
  return reader ? read_all(**reader) : Bytes();
}

void write_all(Image& image, std::uint64_t offset, const Bytes& data) {
  const auto n = image.write(offset, data);
  EXPECT_OK(n);
  EXPECT_EQ(n ? *n : 0, data.size());
}

SnapshotId take(Image& image, std::string_view name) {
  const auto id = image.snapshot_create(name);
  EXPECT_OK(id);
  return id ? *id : 0;
}

std::string difference(const Bytes& wanted, const Bytes& seen) {
  if (wanted.size() != seen.size()) {
    return std::to_string(seen.size()) + " bytes instead of " + std::to_string(wanted.size());
  }
  // Not ==, which compares byte by byte: most of the time of the crash tests, and nearly all of it under a sanitizer.
  if (wanted.empty() || std::memcmp(wanted.data(), seen.data(), wanted.size()) == 0) return {};
  const auto at =
      static_cast<std::size_t>(std::mismatch(wanted.begin(), wanted.end(), seen.begin()).first - wanted.begin());
  std::size_t count = 0;
  for (std::size_t i = at; i < wanted.size(); ++i) count += wanted[i] != seen[i] ? 1 : 0;
  return "byte " + std::to_string(at) + " is " + std::to_string(std::to_integer<int>(seen[at])) + " instead of " +
         std::to_string(std::to_integer<int>(wanted[at])) + ", " + std::to_string(count) + " bytes differ";
}

std::string check_findings(File& file) {
  const auto report = check_image(file);
  if (!report) return "could not check: " + report.status().message() + "\n";
  std::string lines;
  for (const auto& finding : report->findings) lines += finding.structure + ": " + finding.message + "\n";
  if (lines.empty() && report->exit_status() != 0)
    lines = "exit status " + std::to_string(report->exit_status()) + "\n";
  return lines;
}

void expect_sound(CrashDisk& disk) { EXPECT_EQ(check_findings(*disk.open()), ""); }

std::uint64_t metric(const Image& image, std::string_view name, std::string_view structure) {
  const std::string label = structure.empty() ? "" : "structure=\"" + std::string(structure) + "\"";
  std::uint64_t sum = 0;
  bool found = false;
  for (const auto& one : image.metrics()) {
    if (one.name != name || one.labels.find(label) == std::string::npos) continue;
    sum += one.value;
    found = true;
  }
  EXPECT_TRUE(found) << "no metric " << name << " " << label;
  return sum;
}

std::uint64_t environment(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? fallback : std::strtoull(text, nullptr, 0);
}

std::uint64_t stride() { return std::max<std::uint64_t>(environment("FVD_TEST_STRIDE", 1), 1); }

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "fvd-test-XXXXXX").string();
  EXPECT_NE(mkdtemp(name.data()), nullptr);
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace fvd::test
