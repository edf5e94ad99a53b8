// fvdfs: mounts an FVD image. Exit status: 0 the mount answers (or, in the foreground, has ended well), 1 failure with
// one line on standard error, 2 wrong usage. By the name of mount.fvdfs it is mount(8)'s helper for `mount -t fvdfs`.
#include <malloc.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "fuse/daemon.h"
#include "fuse/log.h"
#include "fuse/lowlevel.h"
#include "fuse/options.h"
#include "fuse/session.h"
#include "fvd/version.h"
#include "io/standard_descriptors.h"

namespace {

int fail(const std::string& line) {
  (void)std::fprintf(stderr, "fvdfs: %s\n", line.c_str());
  return 1;
}

// The daemon leaves the current directory, so every path becomes absolute first.
bool make_absolute(fvdfs::Options* options, std::string* error) {
  struct stat st {};
  if (::stat(options->mount_point.c_str(), &st) != 0) {
    *error = "mount point " + options->mount_point + ": " + std::generic_category().message(errno);
    if (errno == ENOTCONN) *error += "; a mount whose daemon died is there: fusermount3 -u removes it";
    return false;
  }
  if (!S_ISDIR(st.st_mode)) {
    *error = "mount point " + options->mount_point + " is not a directory";
    if (::stat(options->image.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) {
      *error += "; the image comes first: fvdfs IMAGE MOUNTPOINT";
    }
    return false;
  }
  options->image = fvdfs::absolute_path(options->image);
  options->mount_point = fvdfs::resolved_path(options->mount_point);
  if (!options->log_file.empty()) options->log_file = fvdfs::absolute_path(options->log_file);
  if (!options->pid_file.empty()) options->pid_file = fvdfs::absolute_path(options->pid_file);
  return true;
}

// A snapshot operation needs some MiB for a moment. Taken straight from the kernel they go back to it; left to
// malloc's growing threshold and its arena a thread they would stay.
void give_memory_back() {
  (void)::mallopt(M_MMAP_THRESHOLD, 256 << 10);
  (void)::mallopt(M_TRIM_THRESHOLD, 256 << 10);
  (void)::mallopt(M_ARENA_MAX, 2);
}

bool called_by_mount(std::string_view program) { return program.substr(program.rfind('/') + 1).starts_with("mount."); }

}  // namespace

int main(int argc, char** argv) {
  if (!fvd::occupy_standard_descriptors()) return 1;
  give_memory_back();
  std::string error;
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  auto options = argc > 0 && called_by_mount(argv[0]) ? fvdfs::parse_mount_helper_options(arguments, &error)
                                                      : fvdfs::parse_options(arguments, &error);
  if (!options) {
    (void)std::fprintf(stderr, "fvdfs: %s (fvdfs --help shows the options)\n", error.c_str());
    return 2;
  }
  if (options->help) {
    (void)std::fputs(fvdfs::help_text().c_str(), stdout);
    return 0;
  }
  if (options->version) {
    (void)std::printf("fvdfs %s (libfuse %s)\n", FVD_VERSION_STRING, fuse_pkgversion());
    return 0;
  }
  if (!make_absolute(&*options, &error)) return fail(error);
  if (options->fake) return 0;
  if (!fvdfs::start_log(*options, &error)) return fail(error);
  fvdfs::Daemon daemon;
  if (!options->foreground && !daemon.go_to_background()) {
    return fail("cannot go to the background: " + std::generic_category().message(errno));
  }
  return fvdfs::run_session(*options, daemon);
}
