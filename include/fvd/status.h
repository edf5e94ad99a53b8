// Status and Result: how every fvd function reports failure.
//
// A Status is a code that programs act on, the errno that the host gave (0 when none was involved), and one
// line of text for people that says what failed, on which file and, where it helps, what to do about it.
// No exception leaves the library. Values are immutable after construction and may be copied between threads.
#ifndef FVD_STATUS_H_
#define FVD_STATUS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>

namespace fvd {

enum class Code : std::uint8_t {
  kOk = 0,
  kIo,            // the host's storage failed; system_error() says how
  kNoSpace,       // the host file system or device is full, or the virtual disk has no such offset
  kExists,        // a snapshot or file of that name is there already
  kNotFound,      // no such snapshot or file
  kBusy,          // held, open, or in use by another request
  kInvalid,       // an argument is malformed
  kNameTooLong,   // a name is longer than 255 bytes
  kTooMany,       // the limit of 65,535 snapshots is reached
  kReadOnly,      // the image is open read-only, or turned read-only after a failure
  kNotPermitted,  // the operation is refused by policy, for example shrinking without leave
  kUnsupported,   // a valid request or a valid image that this build cannot serve
  kCorrupt,       // the image contradicts its own format
  kLocked,        // another process has the image open
};

// The field's word for `code`, for example "no space".
const char* code_name(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // success
  Status(Code code, std::string message, int system_error = 0);

  static Status ok() { return {}; }
  // Maps `system_error` (an errno value) to a Code; `operation` and `path` go into the message.
  static Status from_errno(int system_error, const std::string& operation, const std::string& path);

  [[nodiscard]] bool is_ok() const { return rep_ == nullptr; }
  explicit operator bool() const { return is_ok(); }
  [[nodiscard]] Code code() const { return rep_ ? rep_->code : Code::kOk; }
  [[nodiscard]] int system_error() const { return rep_ ? rep_->system_error : 0; }
  // One line without a newline; "" on success.
  [[nodiscard]] const std::string& message() const;

 private:
  struct Rep {
    Code code;
    int system_error;
    std::string message;
  };
  std::shared_ptr<const Rep> rep_;
};

// A T, or the Status that says why there is none. value() REQUIRES is_ok().
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : data_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : data_(std::move(status)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool is_ok() const { return data_.index() == 0; }
  explicit operator bool() const { return is_ok(); }
  [[nodiscard]] Status status() const { return is_ok() ? Status() : std::get<1>(data_); }
  [[nodiscard]] Code code() const { return is_ok() ? Code::kOk : std::get<1>(data_).code(); }

  T& value() & { return std::get<0>(data_); }
  const T& value() const& { return std::get<0>(data_); }
  T&& value() && { return std::get<0>(std::move(data_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> data_;
};

}  // namespace fvd

#endif  // FVD_STATUS_H_
