#include "cli/complete.h"

#include <algorithm>
#include <boost/program_options/cmdline.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fvd::cli {
namespace {

constexpr std::string_view kGroup = "snapshot ";  // as begins the name of a command of a group

class Completion {
 public:
  Completion(std::span<const Command* const> commands, const Arguments& words, std::ostream& out)
      : commands_(commands), words_(words), typed_(words.back()), out_(out) {}

  void run() {
    if (words_[0] == "help" && words_.size() > 1) {
      if (words_.size() == 2) offer_commands("");
      if (words_.size() == 3 && words_[1] + " " == kGroup) offer_commands(kGroup);
      return;
    }
    if (words_.size() == 1) return offer_commands("");
    if (words_.size() == 2 && words_[0] + " " == kGroup) return offer_commands(kGroup);
    const bool in_group = words_[0] + " " == kGroup;
    const std::string name = in_group ? words_[0] + " " + words_[1] : words_[0];
    const auto found =
        std::find_if(commands_.begin(), commands_.end(), [&](const Command* c) { return c->name == name; });
    if (found != commands_.end()) complete_command(**found, in_group ? 2 : 1);
  }

 private:
  void offer(std::string_view word, std::string_view description = {}) {
    if (!word.starts_with(typed_)) return;
    out_ << word;
    if (!description.empty()) out_ << '\t' << description;
    out_ << '\n';
  }

  void offer_commands(std::string_view group) {
    for (const Command* command : commands_) {
      if (!command->name.starts_with(group)) continue;
      const std::string_view word = command->name.substr(group.size());
      if (word.find(' ') == std::string_view::npos) offer(word, command->summary);
    }
    if (group.empty()) {
      offer(kGroup.substr(0, kGroup.size() - 1), "the snapshot operations");
      if (words_.size() == 1) offer("help", "print the help of a command");
      if (typed_.starts_with('-')) offer("--version", "print the version");
    }
    if (typed_.starts_with('-')) offer("--help", "print this help");
  }

  void complete_command(const Command& command, std::size_t first) {
    po::options_description options;
    command.declare(options);
    options.add_options()("help,h", po::bool_switch(), "print this help");
    std::vector<std::string> operands;
    const po::option_description* waiting = nullptr;  // the option whose value comes next
    bool options_over = false;
    for (std::size_t i = first; i + 1 < words_.size(); ++i) {
      const std::string& word = words_[i];
      if (waiting != nullptr) {
        waiting = nullptr;
      } else if (options_over || !word.starts_with('-') || word == "-") {
        operands.push_back(word);
      } else if (word == "--") {
        options_over = true;
      } else {
        waiting = taking_value(options, word);
      }
    }
    const std::vector<std::string> places = places_of(command);
    if (waiting != nullptr) {
      const std::string place = waiting->semantic()->name();
      if (place == "NAME") return;  // one that will be given
      return offer_values(command, place, operands, true);
    }
    if (!options_over && typed_.starts_with('-')) return offer_options(options);
    if (operands.size() >= places.size()) return;
    offer_values(command, places[operands.size()], operands, places[0] == "IMAGE");
  }

  void offer_options(const po::options_description& options) {
    for (const auto& option : options.options()) {
      if (option->description().empty()) continue;  // refused, so not offered
      offer("--" + option->long_name(), option->description());
    }
  }

  // The option that `word` names, if its value is the next word.
  static const po::option_description* taking_value(const po::options_description& options, const std::string& word) {
    if (word.find('=') != std::string::npos) return nullptr;
    const bool is_long = word.starts_with("--");
    if (!is_long && word.size() != 2) return nullptr;
    for (const auto& option : options.options()) {
      const bool same = is_long ? "--" + option->long_name() == word
                                : option->canonical_display_name(po::command_line_style::allow_dash_for_short) == word;
      if (same) return option->semantic()->max_tokens() > 0 ? option.get() : nullptr;
    }
    return nullptr;
  }

  // The operands of a synopsis: "[-d TEXT] {--size N | IMAGE [NAME]}" has IMAGE and NAME.
  static std::vector<std::string> places_of(const Command& command) {
    std::string text(command.synopsis);
    // From the innermost out, brackets that hold options go.
    for (std::size_t close = text.find(']'); close != std::string::npos; close = text.find(']', close + 1)) {
      const std::size_t open = text.rfind('[', close);
      if (open == std::string::npos || text[open + 1] != '-') continue;
      text.replace(open, close - open + 1, close - open + 1, ' ');
    }
    for (std::size_t option = text.find("--"); option != std::string::npos; option = text.find("--", option)) {
      const std::size_t value = text.find(' ', option);
      text.erase(option, value == std::string::npos ? value : text.find_first_of(" }", value + 1) - option);
    }
    std::vector<std::string> places;
    std::string place;
    for (const char c : text + " ") {
      const bool in_name = (c >= 'A' && c <= 'Z') || (c == '-' && !place.empty());
      if (in_name) {
        place += c;
      } else if (!place.empty()) {
        places.push_back(std::exchange(place, {}));
      }
    }
    return places;
  }

  // `place` is the word by which the help calls what is to come: where it is none of the usual ones, a state of the
  // image that is the first operand, or, without `states`, a file.
  void offer_values(const Command& command, std::string_view place, const std::vector<std::string>& operands,
                    bool states) {
    const bool makes_snapshot = command.name == kSnapshotCreate.name && place == "NAME";
    if (place == "SIZE" || place == "N" || place == "TEXT" || place.starts_with("NEW-") || makes_snapshot) return;
    if (place == "IMAGE") {
      out_ << ":images\n";
    } else if (place == "FORMAT") {
      offer("raw");
      if (command.name != kCreate.name) offer("fvd");  // a base image is raw
    } else if (place == "BASE" || place == "SRC" || place == "DST" || place == "FILE" || !states) {
      out_ << ":files\n";
    } else if (!operands.empty()) {
      offer_snapshots(operands[0], place != "NAME");
    }
  }

  void offer_snapshots(const std::string& path, bool with_current_state) {
    OpenOptions options;
    options.read_only = true;
    options.force_share = true;
    options.without_base = true;
    const auto image = Image::open(path, options);
    if (!image) return;
    for (const SnapshotInfo& snapshot : (*image)->snapshots()) {
      offer(snapshot.name, one_line(snapshot.description.substr(0, snapshot.description.find('\n'))));
    }
    if (with_current_state) offer("current-state");
  }

  const std::span<const Command* const> commands_;
  const Arguments& words_;
  const std::string& typed_;
  std::ostream& out_;
};

}  // namespace

void complete(std::span<const Command* const> commands, const Arguments& words, std::ostream& out) {
  if (!words.empty()) Completion(commands, words, out).run();
}

}  // namespace fvd::cli
