// What the tool says about itself, and about command lines that it cannot follow.
#include <ostream>
#include <streambuf>

#include "base/suggest.h"
#include "cli_rig.h"
#include "fvd/version.h"

namespace fvd::test {
namespace {

const std::vector<cli::Arguments> kCommands{{"create"},
                                            {"info"},
                                            {"tree"},
                                            {"snapshot", "list"},
                                            {"snapshot", "create"},
                                            {"snapshot", "delete"},
                                            {"snapshot", "goto"},
                                            {"snapshot", "rename"},
                                            {"snapshot", "describe"},
                                            {"snapshot", "hold"},
                                            {"snapshot", "release"},
                                            {"convert"},
                                            {"compare"},
                                            {"resize"},
                                            {"map"},
                                            {"diff"},
                                            {"measure"},
                                            {"compact"},
                                            {"flatten"},
                                            {"upgrade"},
                                            {"send"},
                                            {"receive"},
                                            {"check"}};

cli::Arguments with(cli::Arguments command, std::initializer_list<std::string> more) {
  command.insert(command.end(), more);
  return command;
}

TEST(CliUsage, VersionIsTheProjects) {
  EXPECT_EQ(fvd_ok({"--version"}), std::string("fvd ") + FVD_VERSION_STRING + "\n");
  EXPECT_EQ(fvd_ok({"-V"}), fvd_ok({"--version"}));
}

TEST(CliUsage, HelpListsTheCommandsThatWork) {
  const std::string help = fvd_ok({"--help"});
  for (const char* command : {"create", "info", "tree", "snapshot", "convert", "compare", "resize", "map", "diff",
                              "measure", "compact", "flatten", "upgrade", "send", "receive", "check"}) {
    EXPECT_NE(help.find(std::string("\n  ") + command + " "), std::string::npos) << command;
  }
}

TEST(CliUsage, EachCommandHasHelpWithAnExample) {
  for (const auto& command : kCommands) {
    const std::string help = fvd_ok(with(command, {"--help"}));
    EXPECT_TRUE(help.starts_with("usage: fvd " + command.back()) || command.size() == 2) << help;
    EXPECT_NE(help.find("\nexample:\n  fvd "), std::string::npos) << help;
    EXPECT_EQ(fvd_ok(with(command, {"-h"})), help);
    EXPECT_EQ(fvd_ok(with(command, {"operand", "--help"})), help) << "help counts before the arguments do";
  }
  EXPECT_NE(fvd_ok({"snapshot", "--help"}).find("rename a snapshot"), std::string::npos);
}

TEST(CliUsage, NothingToDoIsAUsageError) {
  for (const cli::Arguments& arguments : {cli::Arguments{}, cli::Arguments{"snapshot"}}) {
    const Outcome outcome = fvd(arguments);
    EXPECT_EQ(outcome.status, cli::kUsage);
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(outcome.err.starts_with("usage: ")) << outcome.err;
  }
}

TEST(CliUsage, AnEmptyValueIsNoneThatWasLeftOut) {  // but an unset variable of a script
  expect_failure(cli::kUsage, "--snapshot is empty", {"convert", "-s", "", "disk.fvd", "disk.raw"});
  expect_failure(cli::kUsage, "--other-snapshot is empty", {"compare", "-S", "", "disk.fvd", "disk.fvd"});
  expect_failure(cli::kUsage, "--incremental is empty", {"send", "-i", "", "disk.fvd", "s1"});
  expect_failure(cli::kUsage, "--base is empty", {"create", "-b", "", "disk.fvd", "1G"});
  expect_failure(cli::kUsage, "--name is empty", {"receive", "--name", "", "disk.fvd"});
  expect_failure(cli::kUsage, "DST is empty", {"convert", "disk.fvd", ""});
}

TEST(CliUsage, MistypedCommandsGetASuggestion) {
  expect_failure(cli::kUsage, "did you mean \"create\"?", {"craete", "x"});
  expect_failure(cli::kUsage, "did you mean \"info\"?", {"inof"});
  expect_failure(cli::kUsage, "did you mean \"snapshot\"?", {"snapshots"});
  expect_failure(cli::kUsage, "did you mean \"snapshot rename\"?", {"snapshot", "renmae"});
  const Outcome far = fvd({"frobnicate"});
  EXPECT_EQ(far.status, cli::kUsage);
  EXPECT_EQ(far.err.find("did you mean"), std::string::npos) << far.err;
}

TEST(CliUsage, MistypedOptionsGetASuggestion) {
  expect_failure(cli::kUsage, "did you mean --json? See: fvd info --help\n", {"info", "--jsno", "x"});
  expect_failure(cli::kUsage, "did you mean --chunk-size?", {"create", "--chunksize=1M", "x", "1G"});
  expect_failure(cli::kUsage, "did you mean \"--help\"?", {"--hlep"});
  expect_failure(cli::kUsage, "unknown option", {"--frobnicate"});
  EXPECT_EQ(fvd({"info", "--frobnicate", "x"}).err.find("did you mean"), std::string::npos);
  EXPECT_EQ(fvd({"info", "-x", "x"}).err.find("did you mean"), std::string::npos);
}

TEST(CliUsage, HelpIsACommandToo) {
  EXPECT_EQ(fvd_ok({"help"}), fvd_ok({"--help"}));
  EXPECT_EQ(fvd_ok({"help", "--help"}), fvd_ok({"--help"}));
  EXPECT_EQ(fvd_ok({"help", "create"}), fvd_ok({"create", "--help"}));
  EXPECT_EQ(fvd_ok({"help", "snapshot"}), fvd_ok({"snapshot", "--help"}));
  EXPECT_EQ(fvd_ok({"help", "snapshot", "goto"}), fvd_ok({"snapshot", "goto", "--help"}));
  expect_failure(cli::kUsage, "did you mean \"create\"?", {"help", "craete"});
}

TEST(CliUsage, SuggestionsAreNeverFarFetched) {
  EXPECT_EQ(suggest("chekc", {"create", "check"}), "check");
  EXPECT_EQ(suggest("", {"create", "check"}), "");
  EXPECT_EQ(suggest("abcde", {"create", "check"}), "");
  EXPECT_EQ(suggest(std::string(100000, 'c'), {"create"}), "");
}

TEST(CliUsage, UnknownOptionsAndMisfittingArgumentsAreUsageErrors) {
  for (const auto& command : kCommands) {
    expect_failure(cli::kUsage, "--frobnicate", with(command, {"--frobnicate", "x"}));
    expect_failure(cli::kUsage, "too few arguments", command);
    expect_failure(cli::kUsage, "unexpected argument \"x\"", with(command, {"x", "x", "x", "x"}));
  }
  expect_failure(cli::kUsage, "--js", {"info", "--js", "x"});  // no abbreviations
  expect_failure(cli::kUsage, "--json", {"info", "--json=1", "x"});
  expect_failure(cli::kUsage, "chunk-size", {"create", "x", "1G", "--chunk-size"});
  expect_failure(cli::kUsage, "exclude each other", {"tree", "--json", "--dot", "x"});
}

TEST(CliUsage, ArgumentsAfterTwoDashesAreNoOptions) {
  TemporaryDirectory directory;
  expect_failure(cli::kFailure, "--json", {"info", "--", directory.file("--json")});
}

TEST(CliUsage, MessagesStayOnOneLineWhateverTheArguments) {
  expect_failure(cli::kUsage, "unexpected argument \"a?b\"", {"info", "x", "a\nb"});
  expect_failure(cli::kUsage, "unknown command \"a?b\"", {"a\nb"});
  expect_failure(cli::kFailure, "no?such", {"info", "/no\nsuch"});
  TemporaryDirectory directory;
  const std::string image = directory.file("a\nb");
  EXPECT_NE(fvd_ok({"create", image, "1M"}).find("a?b: 1 MiB"), std::string::npos);
  for (const char* command : {"info", "check", "compact", "flatten", "upgrade"}) {
    EXPECT_NE(fvd_ok({command, image}).find("a?b"), std::string::npos) << command;
  }
  EXPECT_NE(fvd_ok({"resize", image, "2M"}).find("a?b: 2 MiB"), std::string::npos);
}

// A stream that takes nothing, as a full disk or a closed pipe.
class FullBuffer : public std::streambuf {};

TEST(CliUsage, OutputThatCannotBeWrittenIsAFailure) {
  FullBuffer full;
  std::ostream out(&full);
  std::istringstream in;
  std::ostringstream err;
  EXPECT_EQ(cli::run({"--help"}, {in, out, err}), cli::kFailure);
  EXPECT_NE(err.str().find("cannot write to standard output"), std::string::npos);
}

}  // namespace
}  // namespace fvd::test
