// Writes to a disk, takes a snapshot, overwrites the disk, reads both states side by side, and goes back:
//   rewind NEW-IMAGE
#include <fvd/image.h>

#include <cstddef>
#include <iostream>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace {

fvd::Status write_text(fvd::Image& image, std::string_view text) {
  return image.write(0, std::as_bytes(std::span(text))).status();
}

fvd::Result<std::string> read_text(fvd::StateReader& state) {
  std::string text(16, '\0');
  const auto n = state.read(0, std::as_writable_bytes(std::span(text)));
  if (!n) return n.status();
  return text.substr(0, text.find('\0'));
}

fvd::Status print_text(const char* state_name, fvd::StateReader& state) {
  const auto text = read_text(state);
  if (text) std::cout << state_name << " reads: " << *text << '\n';
  return text.status();
}

fvd::Status rewind(const std::string& path) {
  fvd::CreateOptions options;
  options.virtual_size = 1ULL << 30;
  if (auto s = fvd::Image::create(path, options); !s) return s;

  auto opened = fvd::Image::open(path, {});
  if (!opened) return opened.status();
  fvd::Image& image = **opened;

  if (auto s = write_text(image, "first"); !s) return s;
  const auto id = image.snapshot_create("before", "a state to come back to");
  if (!id) return id.status();
  if (auto s = write_text(image, "second"); !s) return s;
  if (auto s = print_text("current-state", image); !s) return s;
  {
    // A reader must be gone before its snapshot can be deleted, and before the image is.
    const auto before = image.open_snapshot(*id);
    if (!before) return before.status();
    if (auto s = print_text("snapshot before", **before); !s) return s;
  }
  if (auto s = image.snapshot_goto("before"); !s) return s;
  if (auto s = print_text("current-state after goto", image); !s) return s;
  return image.close();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: rewind NEW-IMAGE\n";
    return 2;
  }
  if (const auto s = rewind(argv[1]); !s) {
    std::cerr << "rewind: " << s.message() << '\n';
    return 1;
  }
  return 0;
}
