// Options: the command line of fvdfs, also as mount(8) and mount.fuse3 call it:
//   fvdfs [options] IMAGE MOUNTPOINT
//   fvdfs IMAGE MOUNTPOINT -o rw,nosuid,allow_other,dev,…
// Parsing is pure: nothing is opened and nothing printed.
#ifndef FVDFS_OPTIONS_H_
#define FVDFS_OPTIONS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fvdfs {

struct Options {
  std::string image;
  std::string mount_point;
  bool foreground = false;
  bool debug = false;  // libfuse's trace of every request; implies foreground
  bool read_only = false;
  bool force_share = false;
  bool shrink = false;
  bool writeback_cache = false;
  bool allow_other = false;
  bool default_permissions = false;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<mode_t> umask;
  // Bytes. Larger ones gain nothing: several at once overlap better, and each worker needs a buffer of that size.
  std::uint32_t max_read = 256U << 10;
  std::uint32_t max_readahead = 1U << 20;  // bytes; more than 128 KiB only where root mounts
  std::string fsname;                      // in /proc/mounts; "" = the image
  std::string subtype = "fvdfs";
  std::string log_level;  // "" = the default: info in the foreground, warning in the background
  std::string log_file;
  std::string log_target;  // stderr, syslog or journald; "" = the default: stderr in the foreground, else syslog
  std::string pid_file;
  std::vector<std::string> mount_options;  // for the kernel and fusermount3, as they came
  bool fake = false;                       // as mount.fvdfs: do everything but the mount
  bool help = false;
  bool version = false;
};

// The options in `arguments` (without the program's name), or in `error` one line that says what is wrong with them.
std::optional<Options> parse_options(const std::vector<std::string>& arguments, std::string* error);

// The same for arguments as mount(8) gives them to its helper mount.fvdfs (IMAGE MOUNTPOINT [-sfnv] [-t TYPE] [-o
// LIST]), where -f means a fake mount.
std::optional<Options> parse_mount_helper_options(const std::vector<std::string>& arguments, std::string* error);

std::string help_text();

}  // namespace fvdfs

#endif  // FVDFS_OPTIONS_H_
