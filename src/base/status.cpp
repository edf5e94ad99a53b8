#include "fvd/status.h"

#include <cerrno>
#include <cstring>

namespace fvd {

const char* code_name(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kIo:
      return "I/O error";
    case Code::kNoSpace:
      return "no space";
    case Code::kExists:
      return "exists";
    case Code::kNotFound:
      return "not found";
    case Code::kBusy:
      return "busy";
    case Code::kInvalid:
      return "invalid";
    case Code::kNameTooLong:
      return "name too long";
    case Code::kTooMany:
      return "too many";
    case Code::kReadOnly:
      return "read-only";
    case Code::kNotPermitted:
      return "not permitted";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kLocked:
      return "locked";
  }
  return "unknown";
}

Status::Status(Code code, std::string message, int system_error) {
  if (code != Code::kOk) rep_ = std::make_shared<const Rep>(Rep{code, system_error, std::move(message)});
}

const std::string& Status::message() const {
  static const std::string none;
  return rep_ ? rep_->message : none;
}

Status Status::from_errno(int e, const std::string& operation, const std::string& path) {
  Code code = Code::kIo;
  switch (e) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      code = Code::kNoSpace;
      break;
    case ENOENT:
      code = Code::kNotFound;
      break;
    case EEXIST:
      code = Code::kExists;
      break;
    case EROFS:
      code = Code::kReadOnly;
      break;
    case EBUSY:
      code = Code::kBusy;
      break;
    case EACCES:
    case EPERM:
      code = Code::kNotPermitted;
      break;
    case EINVAL:
      code = Code::kInvalid;
      break;
    default:
      break;
  }
  return {code, operation + " " + path + ": " + std::strerror(e), e};
}

}  // namespace fvd
