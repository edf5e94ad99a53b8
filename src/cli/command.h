// What a command of the tool is made of: a table entry that help, parsing and dispatch are driven by, and the few
// things that all commands do alike.
#ifndef FVD_CLI_COMMAND_H_
#define FVD_CLI_COMMAND_H_

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/variables_map.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/one_line.h"
#include "cli/cli.h"
#include "fvd/image.h"

namespace fvd::cli {

namespace po = boost::program_options;

struct Command;
class Progress;

// A command line that fits its command.
struct Invocation {
  const Command& command;
  const po::variables_map& options;
  const std::vector<std::string>& operands;
  const Streams& streams;
  Progress& progress;

  [[nodiscard]] bool flag(const char* name) const { return options[name].as<bool>(); }
  // "" when the option was not given.
  [[nodiscard]] std::string text(const char* name) const {
    return options.count(name) != 0 ? options[name].as<std::string>() : std::string();
  }
};

struct Command {
  std::string_view name;      // "create", "snapshot list"
  std::string_view synopsis;  // what follows the name
  std::string_view summary;   // one line, without a full stop
  std::string_view example;   // a whole command line, or several, each line after the first indented by two
  std::size_t min_operands;
  std::size_t max_operands;
  void (*declare)(po::options_description& options);  // all but --help
  int (*run)(const Invocation& invocation);           // returns the exit status
};

extern const Command kCreate;
extern const Command kInfo;
extern const Command kTree;
extern const Command kSnapshotList;
extern const Command kSnapshotCreate;
extern const Command kSnapshotDelete;
extern const Command kSnapshotGoto;
extern const Command kSnapshotRename;
extern const Command kSend;
extern const Command kReceive;
extern const Command kSnapshotDescribe;
extern const Command kSnapshotHold;
extern const Command kSnapshotRelease;
extern const Command kCheck;
extern const Command kConvert;
extern const Command kCompare;
extern const Command kResize;
extern const Command kMap;
extern const Command kDiff;
extern const Command kMeasure;
extern const Command kCompact;
extern const Command kFlatten;
extern const Command kUpgrade;

// Prints "fvd: what, which file, why, what to do" as one line and returns kFailure. `status` is a failure.
int fail(const Streams& streams, const std::string& image, const Status& status);
// Prints what is wrong with the command line as one line and returns kUsage.
int usage_error(const Streams& streams, const Command& command, const std::string& what);

// Declares -U, --force-share for a command that only reads.
void declare_force_share(po::options_description& options);
// Opens operand 0 for reading, as --force-share says. What needs nothing of the base image works without it.
enum class Base : bool { kNeeded, kMayBeMissing };
Result<std::unique_ptr<Image>> open_to_read(const Invocation& invocation, Base base = Base::kNeeded);
// Opens operand 0 for changes, calls change(image), closes it, and returns the exit status of it all. `change` must not
// begin a part of the progress unless it is said to have its own.
enum class OwnProgress : bool { kNo, kYes };
int with_image(const Invocation& invocation, const std::function<Status(Image&)>& change,
               OwnProgress own = OwnProgress::kNo);

// Sets chunk and block size from the options --chunk-size and, unless it only measures, --block-size; then sees to it
// that an image with all that *how says can be, apart from a base. kInvalid when it cannot.
Status read_layout(const Invocation& invocation, CreateOptions* how);
Status check_layout(CreateOptions how);
struct SourceOptions;
// From the options of that name, and --force-share. kInvalid for a format that there is not.
Status read_source_options(const Invocation& invocation, SourceOptions* to, const char* snapshot = "snapshot",
                           const char* format = "format");

// "20 GiB (21474836480 bytes)", "512 bytes".
std::string exact_size(std::uint64_t bytes);

}  // namespace fvd::cli

#endif  // FVD_CLI_COMMAND_H_
