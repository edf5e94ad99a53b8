// Extended attributes: user.fvd.* of the disk states.
#include <sys/xattr.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "fuse/errno_map.h"
#include "fuse/filesystem.h"
#include "image/tree_text.h"

namespace fvdfs {
namespace {

constexpr std::string_view kPrefix = "user.fvd.";
constexpr std::string_view kId = "user.fvd.id";
constexpr std::string_view kParent = "user.fvd.parent";
constexpr std::string_view kCreated = "user.fvd.created";
constexpr std::string_view kAllocated = "user.fvd.allocated";
constexpr std::string_view kExclusive = "user.fvd.exclusive";
constexpr std::string_view kDescription = "user.fvd.description";
constexpr std::string_view kHold = "user.fvd.hold";

bool is_state(NodeKind kind) {
  return kind == NodeKind::kCurrent || kind == NodeKind::kSnapshot || kind == NodeKind::kDisk;
}

}  // namespace

std::string Filesystem::xattr_value(std::uint64_t inode, std::string_view name, int* error) const {
  *error = 0;
  const Node node = node_of(inode);
  if (!name.starts_with("user.")) {
    *error = EOPNOTSUPP;
    return {};
  }
  *error = ENODATA;
  if (!is_state(node.kind) || !name.starts_with(kPrefix)) return {};

  const auto parent_name = [this](fvd::SnapshotId id) {
    const auto info = id == 0 ? std::nullopt : image_.find_snapshot(id);
    return info ? info->name : std::string();
  };
  std::string value;
  if (node.kind == NodeKind::kCurrent) {
    const fvd::SnapshotId parent = image_.current_parent();
    if (name == kId) {
      value = "0";
    } else if (name == kParent) {
      value = parent_name(parent);
    } else if (name == kCreated) {
      // It began as its parent's copy; without one, with the image.
      const auto info = parent == 0 ? std::nullopt : image_.find_snapshot(parent);
      value = info ? fvd::rfc3339_utc(info->created_seconds, info->created_nanoseconds)
                   : fvd::rfc3339_utc(options_.created.tv_sec, static_cast<std::uint32_t>(options_.created.tv_nsec));
    } else if (name == kAllocated) {
      value = std::to_string(image_.allocated());
    }
  } else {
    const auto info = image_.find_snapshot(node.snapshot);
    if (!info) {
      *error = ENOENT;
      return {};
    }
    if (name == kId) {
      value = std::to_string(info->id);
    } else if (name == kParent) {
      value = parent_name(info->parent);
    } else if (name == kCreated) {
      value = fvd::rfc3339_utc(info->created_seconds, info->created_nanoseconds);
    } else if (name == kAllocated) {
      value = std::to_string(info->allocated);
    } else if (name == kDescription) {
      value = info->description;
    } else if (name == kHold && info->held) {
      value = "1";
    } else if (name == kExclusive) {
      auto bytes = const_cast<fvd::Image&>(image_).snapshot_exclusive(info->id);
      if (!bytes) {
        *error = fail(bytes.status(), "user.fvd.exclusive");
        return {};
      }
      value = std::to_string(*bytes);
    }
  }
  if (!value.empty()) *error = 0;
  return value;
}

void Filesystem::reply_xattr(fuse_req_t req, const std::string& value, size_t size) {
  if (size == 0) {
    fuse_reply_xattr(req, value.size());
  } else if (value.size() > size) {
    fuse_reply_err(req, ERANGE);
  } else {
    fuse_reply_buf(req, value.data(), value.size());
  }
}

void Filesystem::getxattr(fuse_req_t req, fuse_ino_t inode, const char* name, size_t size) {
  int error = 0;
  const std::string value = xattr_value(inode, name, &error);
  if (error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  reply_xattr(req, value, size);
}

void Filesystem::listxattr(fuse_req_t req, fuse_ino_t inode, size_t size) {
  std::string names;
  const auto add = [&names](std::string_view name) { (names += name).push_back('\0'); };
  const Node node = node_of(inode);
  if (node.kind == NodeKind::kCurrent) {
    add(kId);
    if (image_.current_parent() != 0) add(kParent);
    add(kCreated);
    add(kAllocated);
  } else if (is_state(node.kind)) {
    const auto info = image_.find_snapshot(node.snapshot);
    if (!info) {
      fuse_reply_err(req, ENOENT);
      return;
    }
    add(kId);
    if (info->parent != 0) add(kParent);
    add(kCreated);
    add(kAllocated);
    add(kExclusive);
    if (!info->description.empty()) add(kDescription);
    if (info->held) add(kHold);
  }
  reply_xattr(req, names, size);
}

// `value` nullptr removes the attribute.
int Filesystem::change_xattr(std::uint64_t inode, std::string_view name, const std::string* value, int flags) {
  if (image_.read_only()) return EROFS;
  int error = 0;
  (void)(name == kExclusive ? std::string() : xattr_value(inode, name, &error));
  if (!name.starts_with(kPrefix)) return value == nullptr && error == ENODATA ? ENODATA : EOPNOTSUPP;
  const bool settable = node_of(inode).kind == NodeKind::kSnapshot && (name == kDescription || name == kHold);
  const bool known = name == kId || name == kParent || name == kCreated || name == kAllocated || name == kExclusive ||
                     name == kDescription || name == kHold;
  if (!settable) {
    if (!known) return value == nullptr ? ENODATA : EOPNOTSUPP;
    return value == nullptr && error == ENODATA ? ENODATA : EPERM;
  }
  if (error != 0 && error != ENODATA) return error;
  if (error == ENODATA && (value == nullptr || (flags & XATTR_REPLACE) != 0)) return ENODATA;
  if (error == 0 && (flags & XATTR_CREATE) != 0) return EEXIST;
  const auto info = image_.find_snapshot(node_of(inode).snapshot);
  if (!info) return ENOENT;
  if (name == kHold) {
    if (value != nullptr && *value != "1") return EINVAL;
    const fvd::Status status = image_.snapshot_set_hold(info->name, value != nullptr);
    return status ? 0 : fail(status, "hold");
  }
  const fvd::Status status = image_.snapshot_set_description(info->name, value == nullptr ? "" : *value);
  return status ? 0 : fail(status, "description");
}

void Filesystem::setxattr(fuse_req_t req, fuse_ino_t inode, const char* name, const char* value, size_t size,
                          int flags) {
  const std::string text(value, size);
  fuse_reply_err(req, change_xattr(inode, name, &text, flags));
}

void Filesystem::removexattr(fuse_req_t req, fuse_ino_t inode, const char* name) {
  fuse_reply_err(req, change_xattr(inode, name, nullptr, 0));
}

}  // namespace fvdfs
