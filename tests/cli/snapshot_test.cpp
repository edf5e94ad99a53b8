#include <cstdio>
#include <regex>
#include <sstream>
#include <vector>

#include "cli_rig.h"

namespace fvd::test {
namespace {

class CliSnapshot : public CliImage {
 protected:
  std::string line() { return fvd_json({"tree", "--json", image})["line"]; }

  void fill(std::uint64_t seed) {
    auto open = Image::open(image, {});
    ASSERT_OK(open);
    write_all(**open, 0, pattern(1 << 20, seed));
    ASSERT_OK((*open)->close());
  }

  Bytes current() {
    auto open = Image::open(image, {.read_only = true});
    if (!open) return {};
    return read_range(**open, 0, 1 << 20);
  }
};

TEST_F(CliSnapshot, TakesGoesRenamesAndDeletes) {
  fill(1);
  EXPECT_EQ(fvd_ok({"snapshot", "create", image, "s1"}), "");
  fill(2);
  fvd_ok({"snapshot", "create", image, "s2"});
  EXPECT_EQ(line(), "s1->s2->(current-state)");
  fvd_ok({"snapshot", "goto", image, "s1"});
  EXPECT_EQ(line(), "s1->{s2, (current-state)}");
  EXPECT_EQ(difference(pattern(1 << 20, 1), current()), "");
  fvd_ok({"snapshot", "goto", image, "s2"});
  EXPECT_EQ(difference(pattern(1 << 20, 2), current()), "");
  fvd_ok({"snapshot", "rename", image, "s1", "golden"});
  EXPECT_EQ(line(), "golden->s2->(current-state)");
  fvd_ok({"snapshot", "delete", image, "golden"});
  EXPECT_EQ(line(), "s2->(current-state)");
  EXPECT_EQ(difference(pattern(1 << 20, 2), current()), "");
  EXPECT_EQ(fvd({"check", image}).status, 0);
}

TEST_F(CliSnapshot, ListsInOrderWithDescriptions) {
  fvd_ok({"snapshot", "create", image, "b", "-d", "before the upgrade\nsecond line"});
  fvd_ok({"snapshot", "create", "--description=after", image, "a"});
  const auto list = fvd_json({"snapshot", "list", "--json", image});
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0]["name"], "b");
  EXPECT_EQ(list[0]["description"], "before the upgrade\nsecond line");
  EXPECT_EQ(list[0]["virtual_size"], 64 << 20);
  EXPECT_EQ(list[0]["held"], false);
  EXPECT_TRUE(
      std::regex_match(list[0]["created"].get<std::string>(), std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z)")));
  EXPECT_EQ(list[1]["name"], "a");
  EXPECT_EQ(list[1]["parent"], "b");
  const std::string table = fvd_ok({"snapshot", "list", image});
  EXPECT_TRUE(std::regex_search(
      table, std::regex("^NAME +PARENT +TAKEN +SIZE +ALLOCATED +EXCLUSIVE +HELD +DESCRIPTION\nb +- ")))
      << table;
  EXPECT_EQ(table.find("second line"), std::string::npos) << table;
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 3);
}

TEST_F(CliSnapshot, ColumnsAreAsWideAsWhatATerminalShows) {
  for (const char* name : {"\u65e5\u672c\u8a9e", "e\u0301", "\u00fc\U0001f600"}) {
    fvd_ok({"snapshot", "create", image, name});
  }
  const std::string table = fvd_ok({"snapshot", "list", image});
  for (const char* line : {"NAME    PARENT  ", "\n\u65e5\u672c\u8a9e  -       ", "\ne\u0301       \u65e5\u672c\u8a9e  ",
                           "\n\u00fc\U0001f600     e\u0301       "}) {
    EXPECT_NE(table.find(line), std::string::npos) << line << " in\n" << table;
  }
}

TEST_F(CliSnapshot, AnEmptyListIsAHeadOrAnEmptyArray) {
  EXPECT_EQ(fvd_json({"snapshot", "list", "--json", image}), nlohmann::json::array());
  EXPECT_TRUE(fvd_ok({"snapshot", "list", image}).starts_with("NAME"));
}

TEST_F(CliSnapshot, FailuresSayWhatIsWrongAndChangeNothing) {
  fvd_ok({"snapshot", "create", image, "s1"});
  expect_failure(cli::kFailure, "\"s1\"", {"snapshot", "create", image, "s1"});
  expect_failure(cli::kFailure, "current-state", {"snapshot", "create", image, "current-state"});
  expect_failure(cli::kFailure, image, {"snapshot", "create", image, ""});
  expect_failure(cli::kFailure, image, {"snapshot", "create", image, "a/b"});
  expect_failure(cli::kFailure, image, {"snapshot", "create", image, "a\nb"});
  expect_failure(cli::kFailure, "255", {"snapshot", "create", image, std::string(256, 'x')});
  expect_failure(cli::kFailure, "4,096", {"snapshot", "create", image, "s2", "-d", std::string(4097, 'x')});
  for (const char* command : {"delete", "goto"}) {
    expect_failure(cli::kFailure, "fvd snapshot list " + image, {"snapshot", command, image, "s9"});
  }
  expect_failure(cli::kFailure, "\"s9\"", {"snapshot", "rename", image, "s9", "s10"});
  fvd_ok({"snapshot", "create", image, "s2"});
  expect_failure(cli::kFailure, "\"s2\"", {"snapshot", "rename", image, "s1", "s2"});
  EXPECT_EQ(line(), "s1->s2->(current-state)");
}

TEST_F(CliSnapshot, AHeldSnapshotIsNotDeleted) {
  fvd_ok({"snapshot", "create", image, "s1"});
  fvd_ok({"snapshot", "hold", image, "s1"});
  fvd_ok({"snapshot", "hold", image, "s1"});
  expect_failure(cli::kFailure, "fvd snapshot release", {"snapshot", "delete", image, "s1"});
  EXPECT_EQ(fvd_json({"snapshot", "list", "--json", image})[0]["held"], true);
  fvd_ok({"snapshot", "release", image, "s1"});
  EXPECT_EQ(fvd_json({"snapshot", "list", "--json", image})[0]["held"], false);
  fvd_ok({"snapshot", "delete", image, "s1"});
  for (const char* command : {"hold", "release"}) {
    expect_failure(cli::kFailure, "fvd snapshot list " + image, {"snapshot", command, image, "s1"});
  }
}

// The words of a command line as the shell takes them.
std::vector<std::string> words_of(const std::string& line) {
  std::FILE* const shell = ::popen(("printf '%s\\n' " + line).c_str(), "r");
  std::string said;
  for (int c = 0; shell != nullptr && (c = std::fgetc(shell)) != EOF;) said += static_cast<char>(c);
  if (shell == nullptr || ::pclose(shell) != 0) ADD_FAILURE() << "not a command line: " << line;
  std::vector<std::string> words;
  std::istringstream lines(said);
  for (std::string word; std::getline(lines, word);) words.push_back(word);
  return words;
}

TEST_F(CliSnapshot, WhatIsAdvisedCanBePasted) {
  const std::string strange = directory.file("it's a $(disk);.fvd");
  fvd_ok({"create", strange, "1M"});
  for (const std::string& path : {image, strange}) {
    for (const char* name : {"s1", "two words", "it's", "\"$HOME\" `\\", "-f", "~", "=x", "*", "\u00e4"}) {
      fvd_ok({"snapshot", "create", path, "--", name});
      fvd_ok({"snapshot", "hold", path, "--", name});
      const std::string said = fvd({"snapshot", "delete", path, "--", name}).err;
      const std::size_t command = said.find(" with: fvd ");
      ASSERT_NE(command, std::string::npos) << said;
      std::vector<std::string> words = words_of(said.substr(command + 7, said.size() - command - 8));
      ASSERT_EQ(words[0], "fvd") << said;
      words.erase(words.begin());
      fvd_ok(words);
      fvd_ok({"snapshot", "delete", path, "--", name});
      const std::string again = fvd({"snapshot", "delete", path, "--", name}).err;
      EXPECT_EQ(words_of(again.substr(again.find("see: ") + 5)),
                (std::vector<std::string>{"fvd", "snapshot", "list", path}));
    }
  }
  fvd_ok({"snapshot", "create", image, "s1"});
  fvd_ok({"snapshot", "hold", image, "s1"});
  EXPECT_EQ(fvd({"snapshot", "delete", image, "s1"}).err,
            "fvd: snapshot \"s1\" is held; take the hold off first with: fvd snapshot release " + image + " s1\n");
}

TEST_F(CliSnapshot, DescriptionsCanBeChanged) {
  fvd_ok({"snapshot", "create", image, "s1", "-d", "old"});
  fvd_ok({"snapshot", "describe", image, "s1", "new\nlines"});
  EXPECT_EQ(fvd_json({"snapshot", "list", "--json", image})[0]["description"], "new\nlines");
  fvd_ok({"snapshot", "describe", image, "s1", ""});
  EXPECT_EQ(fvd_json({"snapshot", "list", "--json", image})[0]["description"], "");
  expect_failure(cli::kFailure, "4,096", {"snapshot", "describe", image, "s1", std::string(4097, 'x')});
  expect_failure(cli::kFailure, "\"s9\"", {"snapshot", "describe", image, "s9", "x"});
}

// It may come from elsewhere, with an image or a stream.
TEST_F(CliSnapshot, ADescriptionCannotSpeakToTheTerminal) {
  fvd_ok({"snapshot", "create", image, "s1", "-d", "a\x1b[31mb\nc"});
  for (const cli::Arguments& arguments :
       {cli::Arguments{"tree", image}, cli::Arguments{"tree", "--dot", image},
        cli::Arguments{"snapshot", "list", image}, cli::Arguments{"snapshot", "list", "--tree", image}}) {
    const std::string said = fvd_ok(arguments);
    EXPECT_NE(said.find("a?[31mb"), std::string::npos) << said;
    EXPECT_EQ(said.find('\x1b'), std::string::npos) << said;
  }
  // Control characters above 127, and bytes that are no characters, on which Graphviz would fail too.
  fvd_ok({"snapshot", "describe", image, "s1",
          "\xc2\x9b"
          "31m \xff \x9b \xe2\x82 \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"});
  for (const cli::Arguments& arguments :
       {cli::Arguments{"tree", image}, cli::Arguments{"tree", "--dot", image},
        cli::Arguments{"snapshot", "list", image}, cli::Arguments{"--complete", "snapshot", "goto", image, ""}}) {
    const std::string said = fvd_ok(arguments);
    EXPECT_NE(said.find("?31m ? ? ?? \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), std::string::npos) << said;
  }
}

TEST_F(CliSnapshot, TheListTellsWhatASnapshotAloneHolds) {
  fill(1);
  fvd_ok({"snapshot", "create", image, "s1"});
  fill(2);
  fvd_ok({"snapshot", "create", image, "s2"});
  const auto list = fvd_json({"snapshot", "list", "--json", image});
  EXPECT_EQ(list[0]["allocated"], 1 << 20);
  EXPECT_EQ(list[0]["exclusive"], 1 << 20);
  EXPECT_EQ(list[1]["exclusive"], 0) << "current-state has it too";
  EXPECT_TRUE(std::regex_search(fvd_ok({"snapshot", "list", image}), std::regex("\ns1 .* 1 MiB +1 MiB +no\n")));
}

TEST_F(CliSnapshot, TheListCanBeATree) {
  for (const char* name : {"s1", "s2"}) fvd_ok({"snapshot", "create", image, name});
  fvd_ok({"snapshot", "goto", image, "s1"});
  const std::string tree = fvd_ok({"snapshot", "list", "--tree", image});
  EXPECT_TRUE(
      std::regex_search(tree, std::regex("^NAME [^\n]*\ns1 [^\n]*\n├── s2 +s1 [^\n]*\n└── \\(current-state\\) +s1 ")))
      << tree;
  expect_failure(cli::kUsage, "exclude each other", {"snapshot", "list", "--tree", "--json", image});
}

TEST_F(CliSnapshot, AnImageInUseIsLeftAlone) {
  fvd_ok({"snapshot", "create", image, "s1"});
  auto open = Image::open(image, {});
  ASSERT_OK(open);
  expect_failure(cli::kFailure, "mounted", {"snapshot", "create", image, "s2"});
  expect_failure(cli::kFailure, "mounted", {"snapshot", "delete", image, "s1"});
  expect_failure(cli::kFailure, "mounted", {"snapshot", "goto", image, "s1"});
  expect_failure(cli::kFailure, "mounted", {"snapshot", "rename", image, "s1", "s2"});
  EXPECT_EQ((*open)->snapshots().size(), 1U);
}

}  // namespace
}  // namespace fvd::test
