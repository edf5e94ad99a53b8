// Words that come from an image or a user, made fit for a terminal.
#ifndef FVD_BASE_ONE_LINE_H_
#define FVD_BASE_ONE_LINE_H_

#include <algorithm>
#include <string>

namespace fvd {

// `text` on one line and without control characters, whatever a path, a name or a description in it holds.
inline std::string one_line(std::string text) {
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
  std::replace_if(text.begin(), text.end(), control, '?');
  return text;
}

}  // namespace fvd

#endif  // FVD_BASE_ONE_LINE_H_
