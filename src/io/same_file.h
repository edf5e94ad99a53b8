// Whether two paths name one file.
#ifndef FVD_IO_SAME_FILE_H_
#define FVD_IO_SAME_FILE_H_

#include <sys/stat.h>

#include <string>

namespace fvd {

// By whatever names and links; for block devices, one device. False where one of them is not there.
inline bool same_file(const std::string& a, const std::string& b) {
  struct stat one {};
  struct stat other {};
  if (::stat(a.c_str(), &one) != 0 || ::stat(b.c_str(), &other) != 0) return false;
  if (S_ISBLK(one.st_mode) && S_ISBLK(other.st_mode)) return one.st_rdev == other.st_rdev;
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

}  // namespace fvd

#endif  // FVD_IO_SAME_FILE_H_
