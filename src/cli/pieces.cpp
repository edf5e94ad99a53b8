#include "cli/pieces.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

namespace fvd::cli {
namespace {

constexpr std::size_t kThreads = 4;

class Pieces {
 public:
  Pieces(std::uint64_t size, const NextExtent& next, Progress::Part& progress, const PieceWork& work)
      : size_(size), next_(next), progress_(progress), work_(work) {}

  void run() {
    std::vector<std::byte> buffer(kPieceBytes);
    Extent piece;
    while (take(&piece)) {
      const Status s = work_(piece, buffer);
      progress_.advance(piece.length);
      if (!s) fail(s);
    }
  }
  [[nodiscard]] const Status& result() const { return result_; }

 private:
  bool take(Extent* piece) {
    const std::lock_guard lock(mutex_);
    if (result_.is_ok()) result_ = interrupted();
    if (!result_.is_ok() || at_ >= size_) return false;
    if (at_ >= ahead_.offset + ahead_.length) {
      auto found = next_(at_);
      if (!found) {
        result_ = found.status();
        return false;
      }
      ahead_ = *found;
      ahead_.length = std::min(ahead_.length, size_ - at_);
    }
    *piece = ahead_;
    piece->offset = at_;
    piece->length = ahead_.offset + ahead_.length - at_;
    if (piece->data) piece->length = std::min(piece->length, kPieceBytes - at_ % kPieceBytes);
    at_ += piece->length;
    return true;
  }
  void fail(const Status& s) {
    const std::lock_guard lock(mutex_);
    if (result_.is_ok()) result_ = s;
  }

  const std::uint64_t size_;
  const NextExtent& next_;
  Progress::Part& progress_;
  const PieceWork& work_;
  std::mutex mutex_;
  std::uint64_t at_ = 0;
  Extent ahead_;
  Status result_;
};

}  // namespace

Status in_pieces(std::uint64_t size, const NextExtent& next, Progress::Part& progress, const PieceWork& work) {
  Pieces pieces(size, next, progress, work);
  std::vector<std::thread> helpers;
  const std::size_t wanted = std::min<std::uint64_t>(kThreads, size / kPieceBytes + 1);
  for (std::size_t i = 1; i < wanted; ++i) helpers.emplace_back([&pieces] { pieces.run(); });
  pieces.run();
  for (std::thread& helper : helpers) helper.join();
  return pieces.result();
}

bool is_zero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

Status in_runs(std::span<const std::byte> bytes,
               const std::function<Status(std::uint64_t, std::span<const std::byte>, bool)>& visit) {
  const auto grain_at = [&](std::size_t at) { return bytes.subspan(at, std::min(kZeroGrain, bytes.size() - at)); };
  for (std::size_t at = 0; at < bytes.size();) {
    const bool zero = is_zero(grain_at(at));
    std::size_t end = at;
    while (end < bytes.size() && is_zero(grain_at(end)) == zero) end += grain_at(end).size();
    if (Status s = visit(at, bytes.subspan(at, end - at), zero); !s) return s;
    at = end;
  }
  return Status::ok();
}

}  // namespace fvd::cli
