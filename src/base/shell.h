// Commands in messages, written so that they can be pasted into a shell.
#ifndef FVD_BASE_SHELL_H_
#define FVD_BASE_SHELL_H_

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

namespace fvd {

// `word` as every POSIX shell takes it: in quotes unless nothing in it means anything to one.
inline std::string shell_quoted(std::string_view word) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./:@%+,").find(c) != std::string_view::npos || static_cast<unsigned char>(c) >= 0x80;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return std::string(word);
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

// `operands` of a command, in this order, also where one looks like an option.
inline std::string shell_operands(std::initializer_list<std::string_view> operands) {
  std::string text;
  bool ended = false;  // the options
  for (const std::string_view operand : operands) {
    if (!text.empty()) text += ' ';
    if (!ended && operand.starts_with('-')) {
      text += "-- ";
      ended = true;
    }
    text += shell_quoted(operand);
  }
  return text;
}

}  // namespace fvd

#endif  // FVD_BASE_SHELL_H_
