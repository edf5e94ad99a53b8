// An image beside a plain model of what it must hold, on a disk that can lose power or fail.
//
// Every operation runs on both. What the caller may rely on is kept as a World: metadata, the exact content of every
// snapshot, and for current-state the content last made durable plus, for each 512-byte sector written since, all
// versions that a crash may leave. An operation that was cut short leaves two worlds: before and after; nothing else
// is legal. Methods return "" or, in words, what the image did that it must not. Not thread-safe.
#ifndef FVD_TESTS_SUPPORT_TRACKED_IMAGE_H_
#define FVD_TESTS_SUPPORT_TRACKED_IMAGE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fvd/image.h"
#include "support/crash_file.h"
#include "support/image_rig.h"
#include "support/verdict.h"

namespace fvd::test {

struct World {
  struct Snapshot {
    std::string name;
    std::string description;
    std::uint32_t parent = 0;  // key in snapshots; 0 = none
    bool held = false;
    std::shared_ptr<const Bytes> content;
  };
  std::map<std::uint32_t, Snapshot> snapshots;  // by a number of the model's, in order of creation
  std::uint32_t parent = 0;
  Bytes current;                                         // what reads must see
  Bytes durable;                                         // what survives for certain where no version is listed
  std::map<std::uint64_t, std::vector<Bytes>> versions;  // sector -> contents it had or may have got since

  void put(std::uint64_t offset, std::span<const std::byte> data, bool happened);
  void settle();  // all of current is durable now
  void resize(std::uint64_t size);
  [[nodiscard]] std::string metadata() const;  // everything but content, as text
};

class TrackedImage {
 public:
  // Makes a new image on a new disk and opens it; what a base image shows is taken for granted.
  explicit TrackedImage(const CreateOptions& options, OpenOptions open_options = quiet());
  // A copy at rest: the same worlds on a copy of the disk, opened anew. REQUIRES that `other` was closed.
  TrackedImage(const TrackedImage& other);
  TrackedImage& operator=(const TrackedImage&) = delete;
  ~TrackedImage() = default;

  [[nodiscard]] CrashDisk& disk() { return *disk_; }
  [[nodiscard]] Image* image() { return image_.get(); }
  [[nodiscard]] const World& world() const { return world_; }
  [[nodiscard]] Code last_code() const { return last_.code(); }  // of the last operation
  [[nodiscard]] std::uint64_t size() const { return world_.current.size(); }
  [[nodiscard]] std::string snapshot_name(std::uint64_t choice) const;  // "" when there is none

  Verdict open();
  Verdict close();
  Verdict write(std::uint64_t offset, const Bytes& data);
  Verdict read(std::uint64_t offset, std::uint64_t length);
  Verdict discard(std::uint64_t offset, std::uint64_t length);
  Verdict preallocate(std::uint64_t offset, std::uint64_t length);
  Verdict flush();
  Verdict copy(const std::string& source, std::uint64_t from, std::uint64_t to, std::uint64_t length);  // "" = itself
  Verdict resize(std::uint64_t size);
  Verdict create(const std::string& name, const std::string& description = {});
  Verdict go_to(const std::string& name);
  Verdict rename(const std::string& name, const std::string& new_name);
  Verdict remove(const std::string& name);
  Verdict describe(const std::string& name, const std::string& description);
  Verdict hold(const std::string& name, bool held);
  // What an import does to its snapshot, in order.
  struct ImportPiece {
    std::uint64_t offset = 0;
    Bytes data;
    std::uint64_t zeros = 0;             // without data: bytes to discard
    std::function<Verdict()> between{};  // run before it, on current-state or other snapshots
  };
  // Builds snapshot `name`, child of `base` ("" = from zeros, a root), and commits or abandons it.
  Verdict import(const std::string& name, const std::string& base, std::uint64_t size,
                 const std::vector<ImportPiece>& pieces, bool commit = true);
  Verdict flatten();
  Verdict compact();

  // Every state of the open image is exactly what the model says (or, after a failure that left two worlds, one of
  // them), and its holes read as zeros.
  Verdict compare();
  // Power is lost now (or was, if the disk is cut): the image is abandoned; what survives under each seed is checked,
  // opened, compared, closed and checked again. Then goes on with what survives under the first seed.
  Verdict power_cut(std::span<const std::uint64_t> seeds);
  // The same for a killed process: everything written is there.
  Verdict killed();

 private:
  struct Observed {
    std::string metadata;
    Bytes current;
    std::map<std::string, Bytes> snapshots;
  };
  enum class Rule : std::uint8_t { kExact, kAfterCrash };

  [[nodiscard]] bool faulty() const;
  [[nodiscard]] std::uint32_t key_of(const std::string& name) const;
  // Judges an operation's Status: success makes `after` the world; failure is legal only with a fault.
  Verdict conclude(const std::string& what, Status status, std::optional<World> after);
  Verdict write_like(const std::string& what, std::uint64_t offset, const Bytes& data, const Status& status);
  Verdict take_up(const std::string& what, std::uint64_t offset, std::uint64_t length, const Bytes& before);
  static Verdict observe(Image& image, Observed* seen);
  static Verdict judge(const World& world, const Observed& seen, Rule rule);
  Verdict judge_any(const Observed& seen, Rule rule, World* match);
  Verdict inspect(CrashDisk& disk, World* match);
  Verdict adopt(std::shared_ptr<CrashDisk> disk, World world);

  std::shared_ptr<CrashDisk> disk_;
  OpenOptions options_;
  std::unique_ptr<Image> image_;
  World world_;
  std::optional<World> other_;  // the world in which the operation that failed last did happen
  Status last_;
  std::uint32_t next_key_ = 1;
};

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_TRACKED_IMAGE_H_
