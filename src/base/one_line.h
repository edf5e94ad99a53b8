// Words that come from an image or a user, made fit for a terminal.
#ifndef FVD_BASE_ONE_LINE_H_
#define FVD_BASE_ONE_LINE_H_

#include <algorithm>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace fvd {

// `text` on one line of UTF-8 without control characters, whatever a path, a name or a description in it holds.
inline std::string one_line(std::string_view text) {
  std::string line;
  line.reserve(text.size());
  while (!text.empty()) {
    const CodePoint next = first_code_point(text);
    if (next.bytes == 0 || next.is_control()) {
      line += '?';
    } else {
      line += text.substr(0, next.bytes);
    }
    text.remove_prefix(std::max<std::size_t>(next.bytes, 1));
  }
  return line;
}

}  // namespace fvd

#endif  // FVD_BASE_ONE_LINE_H_
