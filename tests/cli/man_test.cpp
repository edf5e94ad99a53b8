// The help and the man pages say the same: every command and every option of one is in the other.
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "cli_rig.h"

namespace fvd::test {
namespace {

using Names = std::set<std::string>;

const std::string kManDirectory = FVD_SOURCE_DIR "/docs/man/";

// The page without its escapes and fonts.
std::string man_page(const std::string& name, const std::string& chapter = "1") {
  std::ifstream file(kManDirectory + name + "." + chapter);
  EXPECT_TRUE(file) << name;
  std::string text(std::istreambuf_iterator<char>(file), {});
  text = std::regex_replace(text, std::regex(R"(\\f.)"), "");
  return std::regex_replace(text, std::regex(R"(\\-)"), "-");
}

std::string section(const std::string& page, const std::string& title) {
  const std::size_t start = page.find("\n.SH " + title + "\n");
  if (start == std::string::npos) return {};
  return page.substr(start + 1, page.find("\n.SH ", start + 1) - start);
}

Names matches(const std::string& text, const std::string& pattern) {
  Names names;
  const std::regex expression(pattern);
  for (std::sregex_iterator it(text.begin(), text.end(), expression), end; it != end; ++it) names.insert((*it)[1]);
  return names;
}

// "-b", "--base" and their like on the lines that introduce options.
Names options_in_help(const std::string& help) {
  Names names;
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_search(line, std::regex("^ +-"))) {
      names.merge(matches(line.substr(0, 26), R"((?:^|[ ,])(--?[A-Za-z][a-z-]*))"));
    }
  }
  return names;
}

Names options_in_man(const std::string& page) {
  Names names;
  const std::regex head(R"(\.TP\n(\.B.*)\n)");
  const std::string options = section(page, "OPTIONS");
  for (std::sregex_iterator it(options.begin(), options.end(), head), end; it != end; ++it) {
    names.merge(matches((*it)[1], R"((?:[ ,"])(--?[A-Za-z][a-z-]*))"));
  }
  return names;
}

// What stands in brackets or braces of the synopsis.
Names options_in_synopsis(const std::string& text) { return matches(text, R"((?:[ \[|{])(--?[A-Za-z][a-z-]*))"); }

const Names kPages{"create", "info",    "tree",    "snapshot", "convert", "compare", "resize",  "map",
                   "diff",   "measure", "compact", "flatten",  "upgrade", "send",    "receive", "check"};

TEST(CliMan, EachCommandHasAPageAndEachPageACommand) {
  const std::string commands = fvd_ok({"--help"});
  const std::string list =
      commands.substr(commands.find("commands:"), commands.find("options:") - commands.find("commands:"));
  EXPECT_EQ(matches(list, R"(\n  ([a-z]+) )"), kPages);
  EXPECT_EQ(matches(section(man_page("fvd"), "COMMANDS"), R"(\.BR fvd-([a-z]+) )"), kPages);
  Names pages;
  for (const auto& entry : std::filesystem::directory_iterator(kManDirectory)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("fvd-") && name.ends_with(".1")) pages.insert(name.substr(4, name.size() - 6));
  }
  EXPECT_EQ(pages, kPages);
}

TEST(CliMan, HelpAndManPagesHaveTheSameOptions) {
  EXPECT_EQ(options_in_help(fvd_ok({"--help"})), options_in_man(man_page("fvd")));
  for (const std::string& command : kPages) {
    const Names in_help = options_in_help(fvd_ok({command, "--help"}));
    EXPECT_GE(in_help.size(), 2U) << command;
    EXPECT_EQ(in_help, options_in_man(man_page("fvd-" + command))) << command;
  }
}

TEST(CliMan, HelpAndManPagesHaveTheSameSynopsis) {
  for (const std::string& command : kPages) {
    std::istringstream help(fvd_ok({command, "--help"}));
    Names in_help;
    for (std::string line; std::getline(help, line);) {
      if (line.starts_with("usage: fvd ") || line.starts_with("fvd ")) in_help.merge(options_in_synopsis(line));
    }
    EXPECT_EQ(in_help, options_in_synopsis(section(man_page("fvd-" + command), "SYNOPSIS"))) << command;
  }
}

void add_members(const nlohmann::json& json, Names* names) {
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      names->insert(key);
      add_members(value, names);
    }
  } else if (json.is_array()) {
    for (const auto& value : json) add_members(value, names);
  }
}

TEST(CliMan, EveryMemberOfTheJsonIsInThePage) {
  const TemporaryDirectory directory;
  const std::string base = directory.file("base.raw");
  const std::string image = directory.file("disk.fvd");
  std::ofstream(base) << std::string(4096, 'x');
  fvd_ok({"create", "-b", base, image, "1M"});
  fvd_ok({"snapshot", "create", image, "s1"});
  const std::string tree = man_page("fvd-tree");
  for (const auto& [arguments, page] :
       {std::pair<cli::Arguments, std::string>{{"info", "--json", image}, man_page("fvd-info") + tree},
        {{"tree", "--json", image}, tree},
        {{"snapshot", "list", "--json", image}, man_page("fvd-snapshot") + tree},
        {{"map", "--json", image}, man_page("fvd-map")},
        {{"diff", "--json", image, "s1", "current-state"}, man_page("fvd-diff")},
        {{"measure", "--json", image}, man_page("fvd-measure")},
        {{"check", "--json", image}, man_page("fvd-check")}}) {
    Names members;
    add_members(fvd_json(arguments), &members);
    EXPECT_GE(members.size(), 2U) << arguments[0];
    for (const std::string& member : members) {
      EXPECT_TRUE(std::regex_search(page, std::regex("[ (\n]" + member + "\\b"))) << arguments[0] << ": " << member;
    }
  }
}

TEST(CliMan, TheFormatPageHasTheLimitsOfTheSpecification) {
  std::ifstream file(FVD_SOURCE_DIR "/docs/format.md");
  const std::string specification(std::istreambuf_iterator<char>(file), {});
  const std::string page = man_page("fvd-format", "5");
  const std::string limits = specification.substr(specification.find("\n## Limits\n"));
  const Names numbers = matches(limits, R"(([0-9][0-9,^]*[0-9]))");
  EXPECT_GE(numbers.size(), 10U);
  for (const std::string& number : numbers) {
    if (number == "2^32") continue;  // of the ids, which no user meets
    EXPECT_NE(section(page, "LIMITS").find(number), std::string::npos) << number;
  }
  EXPECT_NE(page.find("46 56 44 32 0d 0a 1a 0a 02 00 00 00"), std::string::npos);
  const std::string features = specification.substr(specification.find("| word | bit | name |"));
  for (const std::string& name :
       matches(features.substr(0, features.find("\n\n")), R"(\n\| \w+ \| \d+ \| ([^ ]+) \|)")) {
    EXPECT_NE(page.find(name), std::string::npos) << name;
  }
}

TEST(CliMan, EveryPageThatIsReferredToIsThere) {
  for (const auto& entry : std::filesystem::directory_iterator(kManDirectory)) {
    const std::string name = entry.path().stem();
    const std::string page = man_page(name, entry.path().extension().string().substr(1));
    for (const std::string& other : matches(page, R"(\.BR (fvd[a-z-]* \(\d\)))")) {
      const std::string file = other.substr(0, other.find(' ')) + "." + other.substr(other.find('(') + 1, 1);
      EXPECT_TRUE(std::filesystem::exists(kManDirectory + file)) << name << " refers to " << other;
    }
  }
}

TEST(CliMan, PagesHaveTheUsualSections) {
  for (const std::string& command : kPages) {
    const std::string page = man_page("fvd-" + command);
    for (const char* title : {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"}) {
      EXPECT_NE(section(page, title), "") << command << ": " << title;
    }
  }
}

}  // namespace
}  // namespace fvd::test
