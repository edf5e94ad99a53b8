#include "mount/failing_disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "fuse/lowlevel.h"

namespace fvd::test {
namespace {

constexpr fuse_ino_t kFile = 2;
constexpr const char* kName = "disk.fvd";

FailingDisk& disk_of(fuse_req_t req) { return *static_cast<FailingDisk*>(fuse_req_userdata(req)); }

bool attributes_of(fuse_req_t req, fuse_ino_t inode, struct stat* st) {
  if (::fstat(disk_of(req).store(), st) != 0) return false;
  st->st_ino = inode;
  if (inode == FUSE_ROOT_ID) {
    st->st_mode = S_IFDIR | 0755;
    st->st_nlink = 2;
  }
  return true;
}

void reply(fuse_req_t req, bool done) { fuse_reply_err(req, done ? 0 : errno); }

// False, after having answered, if the disk fails now.
bool works(fuse_req_t req, FailingDisk::What what) {
  if (!disk_of(req).fails(what)) return true;
  fuse_reply_err(req, EIO);
  return false;
}

void reply_attributes(fuse_req_t req, fuse_ino_t inode) {
  struct stat st {};
  if (attributes_of(req, inode, &st)) {
    fuse_reply_attr(req, &st, 0);
  } else {
    fuse_reply_err(req, errno);
  }
}

void init(void* /*disk*/, fuse_conn_info* connection) { connection->want &= ~unsigned{FUSE_CAP_ATOMIC_O_TRUNC}; }

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fuse_entry_param entry{};
  entry.ino = kFile;
  if (parent != FUSE_ROOT_ID || std::strcmp(name, kName) != 0) {
    fuse_reply_err(req, ENOENT);
  } else if (attributes_of(req, kFile, &entry.attr)) {
    fuse_reply_entry(req, &entry);
  } else {
    fuse_reply_err(req, errno);
  }
}

void getattr(fuse_req_t req, fuse_ino_t inode, fuse_file_info* /*fi*/) { reply_attributes(req, inode); }

void setattr(fuse_req_t req, fuse_ino_t inode, struct stat* st, int to_set, fuse_file_info* /*fi*/) {
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
    if (!works(req, FailingDisk::What::kWrites)) return;
    if (::ftruncate(disk_of(req).store(), st->st_size) != 0) {
      fuse_reply_err(req, errno);
      return;
    }
  }
  reply_attributes(req, inode);
}

void open(fuse_req_t req, fuse_ino_t inode, fuse_file_info* fi) {
  fi->direct_io = 1;  // nothing is cached: every operation of the daemon comes here
  fi->noflush = 1;
  if (inode == kFile) {
    fuse_reply_open(req, fi);
  } else {
    fuse_reply_err(req, EISDIR);
  }
}

void read(fuse_req_t req, fuse_ino_t /*inode*/, std::size_t size, off_t offset, fuse_file_info* /*fi*/) {
  if (!works(req, FailingDisk::What::kReads)) return;
  std::vector<char> buffer(size);
  const ssize_t count = ::pread(disk_of(req).store(), buffer.data(), size, offset);
  if (count < 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_buf(req, buffer.data(), static_cast<std::size_t>(count));
  }
}

void write(fuse_req_t req, fuse_ino_t /*inode*/, const char* data, std::size_t size, off_t offset,
           fuse_file_info* /*fi*/) {
  if (!works(req, FailingDisk::What::kWrites)) return;
  const ssize_t count = ::pwrite(disk_of(req).store(), data, size, offset);
  if (count < 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_write(req, static_cast<std::size_t>(count));
  }
}

void fsync(fuse_req_t req, fuse_ino_t /*inode*/, int /*data_only*/, fuse_file_info* /*fi*/) {
  if (works(req, FailingDisk::What::kSyncs)) fuse_reply_err(req, 0);
}

void fallocate(fuse_req_t req, fuse_ino_t /*inode*/, int mode, off_t offset, off_t length, fuse_file_info* /*fi*/) {
  if (works(req, FailingDisk::What::kWrites)) reply(req, ::fallocate(disk_of(req).store(), mode, offset, length) == 0);
}

void lseek(fuse_req_t req, fuse_ino_t /*inode*/, off_t offset, int whence, fuse_file_info* /*fi*/) {
  const off_t found = ::lseek(disk_of(req).store(), offset, whence);
  if (found < 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_lseek(req, found);
  }
}

fuse_lowlevel_ops make_operations() {
  fuse_lowlevel_ops ops{};
  ops.init = init;
  ops.lookup = lookup;
  ops.getattr = getattr;
  ops.setattr = setattr;
  ops.open = open;
  ops.read = read;
  ops.write = write;
  ops.fsync = fsync;
  ops.fallocate = fallocate;
  ops.lseek = lseek;
  return ops;
}

}  // namespace

FailingDisk::FailingDisk(const std::string& directory, const std::string& store)
    : directory_(directory), store_(::open(store.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
  fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&arguments, "failing-disk");
  const fuse_lowlevel_ops operations = make_operations();
  session_ = fuse_session_new(&arguments, &operations, sizeof operations, this);
  fuse_opt_free_args(&arguments);
  if (session_ == nullptr || store_ < 0 || fuse_session_mount(session_, directory_.c_str()) != 0) return;
  mounted_ = true;
  thread_ = std::thread([this] { (void)fuse_session_loop(session_); });
}

FailingDisk::~FailingDisk() {
  if (mounted_) fuse_session_unmount(session_);  // ends the loop
  if (thread_.joinable()) thread_.join();
  if (session_ != nullptr) fuse_session_destroy(session_);
  if (store_ >= 0) ::close(store_);
}

void FailingDisk::fail(What what, std::uint64_t from, std::uint64_t count) {
  what_ = What::kNothing;
  from_ = from;
  count_ = count;
  seen_ = 0;
  failures_ = 0;
  what_ = what;
}

bool FailingDisk::fails(What what) {
  const What wanted = what_;
  if (wanted != What::kAll && wanted != what) return false;
  const std::uint64_t number = ++seen_;
  if (number < from_ || number - from_ >= count_) return false;
  ++failures_;
  return true;
}

}  // namespace fvd::test
