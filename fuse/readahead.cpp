#include "fuse/readahead.h"

#include <fstream>
#include <sstream>
#include <string>

namespace fvdfs {
namespace {

// As mountinfo(5) writes it: blanks, newlines and backslashes in octal.
std::string escaped(const std::string& path) {
  std::string text;
  for (const char c : path) {
    switch (c) {
      case ' ':
        text += "\\040";
        break;
      case '\t':
        text += "\\011";
        break;
      case '\n':
        text += "\\012";
        break;
      case '\\':
        text += "\\134";
        break;
      default:
        text += c;
    }
  }
  return text;
}

// "MAJOR:MINOR" of what is mounted there, the topmost if there are several; empty when nothing is.
std::string device_of(const std::string& mount_point) {
  const std::string wanted = escaped(mount_point);
  std::string device;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string id, parent, number, root, where;
    if (fields >> id >> parent >> number >> root >> where && where == wanted) device = number;
  }
  return device;
}

}  // namespace

bool set_readahead(const std::string& mount_point, std::uint64_t bytes) {
  const std::string device = device_of(mount_point);
  if (device.empty()) return false;
  std::ofstream control("/sys/class/bdi/" + device + "/read_ahead_kb");
  control << bytes / 1024 << std::flush;
  return control.good();
}

}  // namespace fvdfs
