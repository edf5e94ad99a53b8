// Any bytes as an image: check and open must answer, never crash, hang or take memory that the bytes do not warrant.
#include <cstring>

#include "check/check.h"
#include "fvd/image.h"
#include "support/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> bytes(size);
  if (size != 0) std::memcpy(bytes.data(), data, size);
  fvd::test::MemoryFile file(bytes);
  (void)fvd::check_image(file).is_ok();
  fvd::OpenOptions options;
  options.read_only = true;
  options.commit_interval = std::chrono::milliseconds(0);
  options.completion_idle = std::chrono::milliseconds(0);
  (void)fvd::Image::open_on(std::make_unique<fvd::test::MemoryFile>(std::move(bytes)), options).is_ok();
  return 0;
}
