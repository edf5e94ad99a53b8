// Makes original FVD images (version 1) byte by byte, as the driver of January 2011 did, from docs/format-v1.md alone:
// it shares no code with the reader. Single-threaded.
#ifndef FVD_TESTS_SUPPORT_V1_WRITER_H_
#define FVD_TESTS_SUPPORT_V1_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fvd::test {

using Bytes = std::vector<std::byte>;

struct V1Options {
  std::uint64_t size = 0;        // bytes
  std::uint64_t chunk_size = 0;  // 0 = no lookup table
  std::string base_path{};       // "" = no base
  Bytes base{};                  // its content
  std::uint32_t block_size = 512;
  std::string data_path{};             // "" = data in the image
  std::uint64_t journal_size = 65536;  // 0 = none
};

class V1Writer {
 public:
  explicit V1Writer(V1Options options);

  // The guest writes. REQUIRES whole sectors within the disk, and at most what one lap of the journal holds.
  void write(std::uint64_t offset, const Bytes& data);
  // Bitmap and table go to the image and the journal begins anew, as when it is full.
  void recycle();
  // The image as a clean close leaves it, or as a killed driver does.
  [[nodiscard]] Bytes closed() const;
  [[nodiscard]] Bytes killed() const;
  [[nodiscard]] const Bytes& data_file() const { return store_; }  // with options.data_path
  [[nodiscard]] const Bytes& content() const { return content_; }  // of the disk
  // Writes the image, its base and its data file into the directory that `image` is in.
  void save(const std::string& image, bool clean) const;

  [[nodiscard]] std::uint64_t table_offset() const { return table_offset_; }
  [[nodiscard]] std::uint64_t journal_offset() const { return journal_offset_; }
  [[nodiscard]] std::uint64_t data_offset() const { return data_offset_; }

 private:
  [[nodiscard]] bool has_base() const { return !options_.base_path.empty(); }
  void store(std::uint64_t offset, std::byte const* data, std::uint64_t length);
  void log(std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] Bytes image(const Bytes& bitmap, const std::vector<std::uint32_t>& table, bool clean) const;

  const V1Options options_;
  std::uint64_t base_size_ = 0;
  std::uint64_t bitmap_size_ = 0;
  std::uint64_t table_offset_ = 0;
  std::uint64_t journal_offset_ = 0;
  std::uint64_t data_offset_ = 0;
  Bytes content_;
  Bytes store_;
  Bytes bitmap_, bitmap_on_disk_;
  std::vector<std::uint32_t> table_, table_on_disk_;
  Bytes journal_;
  std::uint64_t cursor_ = 0;
  std::uint32_t next_chunk_ = 0;
};

// Images of all kinds of geometry; bases and data files lie beside them.
struct V1Case {
  const char* name;
  V1Options options;
};
std::vector<V1Case> v1_cases();
// Writes here and there, most of it small.
void write_some(V1Writer& writer);

// A base image of `size` bytes, beginning as no other format does.
Bytes v1_base(std::size_t size);

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_V1_WRITER_H_
