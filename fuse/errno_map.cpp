#include "fuse/errno_map.h"

#include <cerrno>

namespace fvdfs {

int errno_of(fvd::Code code) {
  switch (code) {
    case fvd::Code::kOk:
      return 0;
    case fvd::Code::kIo:
    case fvd::Code::kCorrupt:
      return EIO;
    case fvd::Code::kNoSpace:
      return ENOSPC;
    case fvd::Code::kExists:
      return EEXIST;
    case fvd::Code::kNotFound:
      return ENOENT;
    case fvd::Code::kBusy:
    case fvd::Code::kLocked:
      return EBUSY;
    case fvd::Code::kInvalid:
      return EINVAL;
    case fvd::Code::kNameTooLong:
      return ENAMETOOLONG;
    case fvd::Code::kTooMany:
      return EMLINK;
    case fvd::Code::kReadOnly:
      return EROFS;
    case fvd::Code::kNotPermitted:
      return EPERM;
    case fvd::Code::kUnsupported:
      return EOPNOTSUPP;
  }
  return EIO;
}

}  // namespace fvdfs
