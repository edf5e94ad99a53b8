// Help, parsing and dispatch. Everything here is driven by the table of commands.
#include "cli/cli.h"

#include <algorithm>
#include <array>
#include <boost/any.hpp>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <exception>
#include <iomanip>
#include <ostream>
#include <string_view>
#include <utility>

#include "base/suggest.h"
#include "cli/command.h"
#include "cli/complete.h"
#include "cli/progress.h"
#include "fvd/version.h"

namespace fvd::cli {
namespace {

constexpr std::string_view kGroup = "snapshot";  // the one command that has commands of its own
constexpr std::string_view kHelpWord = "help";   // "fvd help COMMAND" is "fvd COMMAND --help"

const std::array<const Command*, 23> kCommands{&kCreate,
                                               &kInfo,
                                               &kTree,
                                               &kSnapshotList,
                                               &kSnapshotCreate,
                                               &kSnapshotDelete,
                                               &kSnapshotGoto,
                                               &kSnapshotRename,
                                               &kSnapshotDescribe,
                                               &kSnapshotHold,
                                               &kSnapshotRelease,
                                               &kConvert,
                                               &kCompare,
                                               &kResize,
                                               &kMap,
                                               &kDiff,
                                               &kMeasure,
                                               &kCompact,
                                               &kFlatten,
                                               &kUpgrade,
                                               &kSend,
                                               &kReceive,
                                               &kCheck};

bool in_group(const Command& command) { return command.name.starts_with(kGroup); }
std::string_view word_in_group(const Command& command) { return command.name.substr(kGroup.size() + 1); }

po::options_description options_of(const Command& command) {
  po::options_description options;
  command.declare(options);
  options.add_options()("help,h", po::bool_switch(), "print this help");
  return options;
}

void print_options(std::ostream& out, const po::options_description& options) {
  for (const auto& option : options.options()) {
    if (option->description().empty()) continue;  // refused, so not offered
    const std::string short_name = option->canonical_display_name(po::command_line_style::allow_dash_for_short);
    std::string text = short_name.starts_with('-') ? "  " + short_name + ", --" : "      --";
    text += option->long_name();
    if (option->semantic()->max_tokens() > 0) text += " " + option->semantic()->name();
    out << std::left << std::setw(28) << text << (text.size() > 26 ? "\n" + std::string(28, ' ') : "")
        << option->description() << '\n';
  }
}

void print_help(std::ostream& out, const Command& command) {
  out << "usage: fvd " << command.name << ' ' << command.synopsis << "\n\n" << command.summary << "\n\noptions:\n";
  print_options(out, options_of(command));
  out << "\nexample:\n  " << command.example << '\n';
}

void print_group_help(std::ostream& out) {
  out << "usage: fvd snapshot COMMAND [OPTION]... IMAGE [ARGUMENT]...\n\n"
         "the snapshot operations on an image that is not mounted\n\ncommands:\n";
  for (const Command* command : kCommands) {
    if (in_group(*command))
      out << "  " << std::left << std::setw(10) << word_in_group(*command) << command->summary << '\n';
  }
  for (const Command* command : kCommands) {
    if (!in_group(*command)) continue;
    out << "\nfvd " << command->name << ' ' << command->synopsis << '\n';
    print_options(out, options_of(*command));
  }
  out << "\nexample:\n  " << kSnapshotCreate.example << '\n';
}

void print_main_help(std::ostream& out) {
  out << "usage: fvd COMMAND [OPTION]... IMAGE [ARGUMENT]...\n"
         "       fvd {--help|--version}\n\n"
         "Works on a Fast Virtual Disk image that is not mounted; fvdfs mounts one.\n\ncommands:\n";
  bool group_printed = false;
  for (const Command* command : kCommands) {
    if (!in_group(*command)) {
      out << "  " << std::left << std::setw(10) << command->name << command->summary << '\n';
    } else if (!std::exchange(group_printed, true)) {
      out << "  " << std::left << std::setw(10) << kGroup
          << "list, create, delete, goto, rename, describe, hold, release\n";
    }
  }
  out << "\noptions:\n"
         "  -h, --help                print this help; fvd help COMMAND prints that of a command\n"
         "  -V, --version             print the version\n"
         "\nexample:\n  fvd create disk.fvd 20G && fvd snapshot create disk.fvd s1 && fvd tree disk.fvd\n";
}

int unknown_command(const Streams& streams, const std::string& group, const std::string& word,
                    const std::vector<std::string_view>& known) {
  const std::string near = suggest(word, known);
  streams.err << (word.starts_with('-') ? "fvd: unknown option \"" : "fvd: unknown command \"") << group
              << one_line(word) << '"' << (near.empty() ? "; see" : "; did you mean \"" + group + near + "\"? See")
              << ": fvd " << group << "--help\n";
  return kUsage;
}

// "-512M" is a size and no option.
std::vector<po::option> negative_size(std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0].size() < 2 || arguments[0][0] != '-' || arguments[0][1] < '0' ||
      arguments[0][1] > '9') {
    return {};
  }
  po::option operand;
  operand.value.push_back(arguments[0]);
  operand.original_tokens.push_back(arguments[0]);
  arguments.erase(arguments.begin());
  return {operand};
}

// "; did you mean --json?"
std::string suggested_option(const po::options_description& options, const std::string& typed) {
  std::vector<std::string_view> known;
  for (const auto& option : options.options()) {
    if (!option->description().empty()) known.push_back(option->long_name());
  }
  const std::string near = typed.starts_with("--") ? suggest(typed.substr(2, typed.find('=') - 2), known) : "";
  return near.empty() ? "" : "; did you mean --" + near + "?";
}

// The first option whose value is empty, as that of an unset variable is, "" when none is. A description may be.
std::string empty_option(const po::variables_map& values) {
  for (const auto& [name, value] : values) {
    const auto* text = boost::any_cast<std::string>(&value.value());
    if (text != nullptr && text->empty() && name != "description") return name;
  }
  return {};
}

int run_command(const Command& command, const Arguments& arguments, const Streams& streams) {
  // Abbreviated option names would change their meaning as options are added.
  constexpr int kStyle = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  const po::options_description options = options_of(command);
  po::variables_map values;
  std::vector<std::string> operands;
  try {
    const auto parsed =
        po::command_line_parser(arguments).options(options).style(kStyle).extra_style_parser(negative_size).run();
    for (const auto& option : parsed.options) {
      if (option.string_key.empty()) operands.insert(operands.end(), option.value.begin(), option.value.end());
    }
    po::store(parsed, values);
    po::notify(values);
  } catch (const po::unknown_option& error) {
    return usage_error(streams, command, error.what() + suggested_option(options, error.get_option_name()));
  } catch (const po::error& error) {
    return usage_error(streams, command, error.what());
  }
  if (values["help"].as<bool>()) {
    print_help(streams.out, command);
    return kSuccess;
  }
  if (const std::string name = empty_option(values); !name.empty()) {
    return usage_error(streams, command, "the value of --" + name + " is empty");
  }
  if (operands.size() < command.min_operands) {
    return usage_error(streams, command, "too few arguments: give " + std::string(command.synopsis));
  }
  if (operands.size() > command.max_operands) {
    return usage_error(streams, command, "unexpected argument \"" + operands[command.max_operands] + "\"");
  }
  Progress progress(streams, std::string(command.name));
  if (!operands.empty() && operands[0].empty()) return usage_error(streams, command, "the first argument is empty");
  return command.run({command, values, operands, streams, progress});
}

bool is_help(const std::string& word) { return word == "--help" || word == "-h"; }

int run_group(const Arguments& arguments, const Streams& streams) {
  if (arguments.empty()) {
    print_group_help(streams.err);
    return kUsage;
  }
  if (is_help(arguments[0])) {
    print_group_help(streams.out);
    return kSuccess;
  }
  std::vector<std::string_view> known;
  for (const Command* command : kCommands) {
    if (!in_group(*command)) continue;
    known.push_back(word_in_group(*command));
    if (known.back() == arguments[0]) return run_command(*command, {arguments.begin() + 1, arguments.end()}, streams);
  }
  return unknown_command(streams, "snapshot ", arguments[0], known);
}

int dispatch(const Arguments& arguments, const Streams& streams) {
  if (arguments.empty()) {
    print_main_help(streams.err);
    return kUsage;
  }
  const std::string& word = arguments[0];
  if (is_help(word)) {
    print_main_help(streams.out);
    return kSuccess;
  }
  if (word == "--version" || word == "-V") {
    streams.out << "fvd " << FVD_VERSION_STRING << '\n';
    return kSuccess;
  }
  Arguments rest(arguments.begin() + 1, arguments.end());
  if (word == kHelpWord) {
    rest.erase(std::remove_if(rest.begin(), rest.end(), is_help), rest.end());
    rest.emplace_back("--help");
    return dispatch(rest, streams);
  }
  if (word == "--complete") {  // for the shells' completion only, so no help tells of it
    complete(kCommands, rest, streams.out);
    return kSuccess;
  }
  if (word == kGroup) return run_group(rest, streams);
  std::vector<std::string_view> known{kGroup, kHelpWord};
  if (word.starts_with('-')) known = {"--help", "--version"};
  for (const Command* command : kCommands) {
    if (in_group(*command)) continue;
    known.push_back(command->name);
    if (command->name == word) return run_command(*command, rest, streams);
  }
  return unknown_command(streams, "", word, known);
}

}  // namespace

int run(const Arguments& arguments, const Streams& streams) {
  try {
    const int status = dispatch(arguments, streams);
    streams.out.flush();
    if (streams.out) return status;
    streams.err << "fvd: cannot write to standard output (is the disk full?)\n";
  } catch (const std::exception& error) {
    streams.err << "fvd: stopped by an error of its own: " << error.what() << '\n';
  }
  return kFailure;
}

}  // namespace fvd::cli
