// info and tree, on images with and without snapshots.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

#include "cli_rig.h"
#include "support/v1_writer.h"

namespace fvd::test {
namespace {

class CliInspect : public CliImage {
 protected:
  // s1->s2->{s3->s4->(current-state), s5}
  void grow_tree() {
    for (const char* name : {"s1", "s2", "s3", "s4"}) fvd_ok({"snapshot", "create", image, name});
    fvd_ok({"snapshot", "goto", image, "s2"});
    fvd_ok({"snapshot", "create", image, "s5"});
    fvd_ok({"snapshot", "goto", image, "s4"});
  }
};

TEST_F(CliInspect, InfoForPeopleNamesEverything) {
  const std::string info = fvd_ok({"info", image});
  for (const char* line : {"image:", "uuid:", "format:", "virtual size:", "allocated:", "file size:", "on the host:",
                           "chunks:", "block:", "journal:", "snapshots:", "parent:", "base image:", "clean:"}) {
    EXPECT_NE(("\n" + info).find(std::string("\n") + line), std::string::npos) << line << "\n" << info;
  }
  EXPECT_NE(info.find("64 MiB (67108864 bytes)"), std::string::npos) << info;
}

TEST_F(CliInspect, InfoForProgramsIsExact) {
  {
    auto open = Image::open(image, {});
    ASSERT_OK(open);
    write_all(**open, 5 << 20, pattern(1 << 20, 1));
    ASSERT_OK((*open)->close());
  }
  fvd_ok({"snapshot", "create", image, "s1"});
  const auto info = fvd_json({"info", "--json", image});
  EXPECT_EQ(info["image"], image);
  EXPECT_TRUE(std::regex_match(info["uuid"].get<std::string>(),
                               std::regex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")));
  EXPECT_EQ(info["format_version"], 2);
  EXPECT_TRUE(info["features"].is_array());
  EXPECT_EQ(info["virtual_size"], 64 << 20);
  EXPECT_EQ(info["allocated"], 1 << 20);
  EXPECT_EQ(info["file_size"], std::filesystem::file_size(image));
  EXPECT_GE(info["chunks_total"], info["chunks_used"]);
  EXPECT_GE(info["chunks_used"], 1);
  EXPECT_EQ(info["clean"], true);
  EXPECT_EQ(info["read_only"], true);
  EXPECT_EQ(info["block_device"], false);
  EXPECT_TRUE(info["error"].is_null());
  EXPECT_TRUE(info["base"].is_null());
  EXPECT_EQ(info["tree"], fvd_json({"tree", "--json", image}));
}

TEST_F(CliInspect, AMissingBaseIsSaidAndNoHindrance) {
  const std::string base = directory.file("base.raw");
  std::ofstream(base) << std::string(1 << 20, 'b');
  const std::string clone = directory.file("clone.fvd");
  fvd_ok({"create", "-b", base, clone});
  fvd_ok({"snapshot", "create", clone, "s1"});
  EXPECT_EQ(fvd_json({"info", "--json", clone})["base"]["missing"], false);
  EXPECT_EQ(fvd_json({"info", "--json", clone})["base"]["format"], "raw") << "as the text says, though none was given";
  EXPECT_EQ(fvd_ok({"info", clone}).find("missing"), std::string::npos);
  const std::string tree = fvd_ok({"tree", clone});
  const std::string list = fvd_ok({"snapshot", "list", clone});
  const std::string diff = fvd_ok({"diff", clone, "s1", "current-state"});
  std::filesystem::remove(base);
  const std::string info = fvd_ok({"info", clone});
  EXPECT_NE(info.find(base + " (raw), 1 MiB (1048576 bytes) of it show through; missing: "), std::string::npos) << info;
  EXPECT_EQ(fvd_json({"info", "--json", clone})["base"]["missing"], true);
  EXPECT_EQ(fvd_json({"info", "--json", clone})["base"]["path"], base);
  EXPECT_EQ(fvd_ok({"tree", clone}), tree);
  EXPECT_EQ(fvd_ok({"snapshot", "list", clone}), list);
  EXPECT_EQ(fvd_ok({"diff", clone, "s1", "current-state"}), diff);
  // What reads the disk cannot do without.
  expect_failure(cli::kFailure, base, {"map", clone});
  expect_failure(cli::kFailure, base, {"convert", clone, directory.file("out.raw")});
  expect_failure(cli::kFailure, base, {"send", clone, "s1"});
}

TEST_F(CliInspect, AMissingBaseOfAnOriginalImageIsSaidToo) {
  V1Options options{.size = kMiB, .chunk_size = 65536};
  options.base_path = "base.raw";
  options.base = v1_base(300000);
  const std::string original = directory.file("original.fvd");
  V1Writer(options).save(original, true);
  EXPECT_EQ(fvd_ok({"info", original}).find("missing"), std::string::npos);
  const std::string tree = fvd_ok({"tree", original});
  const std::string list = fvd_ok({"snapshot", "list", original});
  std::filesystem::remove(directory.file("base.raw"));
  EXPECT_NE(fvd_ok({"info", original}).find("of it show through; missing: "), std::string::npos);
  EXPECT_EQ(fvd_json({"info", "--json", original})["base"]["missing"], true);
  EXPECT_EQ(fvd_ok({"tree", original}), tree);
  EXPECT_EQ(fvd_ok({"snapshot", "list", original}), list);
  expect_failure(cli::kFailure, "base.raw", {"convert", original, directory.file("out.raw")});
  expect_failure(cli::kFailure, "base.raw", {"upgrade", original});
}

TEST_F(CliInspect, TreeForPeopleStartsWithTheLine) {
  EXPECT_TRUE(fvd_ok({"tree", image}).starts_with("(current-state)\n"));
  grow_tree();
  EXPECT_TRUE(fvd_ok({"tree", image}).starts_with("s1->s2->{s3->s4->(current-state), s5}\n"));
}

TEST_F(CliInspect, TreeForPrograms) {
  const auto bare = fvd_json({"tree", "--json", image});
  EXPECT_TRUE(bare["current_state"]["parent"].is_null());
  EXPECT_EQ(bare["snapshots"].size(), 0U);
  grow_tree();
  const auto tree = fvd_json({"tree", "--json", image});
  EXPECT_EQ(tree["line"], "s1->s2->{s3->s4->(current-state), s5}");
  EXPECT_EQ(tree["current_state"]["parent"], "s4");
  ASSERT_EQ(tree["snapshots"].size(), 5U);
  EXPECT_TRUE(tree["snapshots"][0]["parent"].is_null());
  EXPECT_EQ(tree["snapshots"][4]["name"], "s5");
  EXPECT_EQ(tree["snapshots"][4]["parent"], "s2");
}

TEST_F(CliInspect, TreeForGraphvizHasEachStateAndEachEdge) {
  grow_tree();
  fvd_ok({"snapshot", "create", image, R"(a "quote" and a \)"});
  const std::string dot = fvd_ok({"tree", "--dot", image});
  EXPECT_TRUE(dot.starts_with("digraph snapshots {\n")) << dot;
  EXPECT_TRUE(dot.ends_with("}\n")) << dot;
  for (const char* part : {"s1 [label=\"s1\\n", "s1 -> s2;", "s2 -> s3;", "s2 -> s5;", "s3 -> s4;", "s4 -> s6;",
                           "s6 -> current;", R"([label="a \"quote\" and a \\\n)", "current [label=\"current-state\""}) {
    EXPECT_NE(dot.find(part), std::string::npos) << part << "\n" << dot;
  }
}

TEST_F(CliInspect, TheGraphSaysWhenHowMuchAndWhatFor) {
  fvd_ok({"snapshot", "create", "-d", "before \"it\"\nsecond line", image, "s1"});
  fvd_ok({"snapshot", "hold", image, "s1"});
  const std::string dot = fvd_ok({"tree", "--dot", image});
  const std::regex label(R"(\[label="s1\\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\\n0 B, held\\nbefore \\"it\\"", tooltip=)");
  EXPECT_TRUE(std::regex_search(dot, label)) << dot;
  if (std::system("command -v dot >/dev/null") != 0) GTEST_SKIP() << "Graphviz is not installed: not rendered";
  const std::string file = directory.file("tree.dot");
  std::ofstream(file) << dot;
  EXPECT_EQ(std::system(("dot -Tsvg -o " + directory.file("tree.svg") + " " + file).c_str()), 0);
}

TEST_F(CliInspect, ColoursAreForTerminalsOnly) {
  EXPECT_EQ(fvd_ok({"tree", image}).find('\033'), std::string::npos);
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(cli::run({"tree", image}, {in, out, err, false, true}), 0);
  EXPECT_NE(out.str().find("\033[1;32m(current-state)\033[0m"), std::string::npos) << out.str();
}

TEST_F(CliInspect, AnImageOpenForWritingIsRefusedUnlessShared) {
  auto open = Image::open(image, {});
  ASSERT_OK(open);
  for (const cli::Arguments& command : {cli::Arguments{"info"}, {"tree"}, {"snapshot", "list"}}) {
    cli::Arguments line = command;
    line.push_back(image);
    expect_failure(cli::kFailure, "mounted", line);
    line.emplace_back("--force-share");
    fvd_ok(line);
    line.back() = "-U";
    fvd_ok(line);
  }
}

TEST_F(CliInspect, ReadersShareAnImage) {
  auto open = Image::open(image, {.read_only = true});
  ASSERT_OK(open);
  fvd_ok({"info", image});
  fvd_ok({"tree", image});
  fvd_ok({"check", image});
  expect_failure(cli::kFailure, "in use", {"snapshot", "create", image, "s1"});
}

TEST_F(CliInspect, SaysWhatIsNoImage) {
  const std::string raw = directory.file("raw");
  std::ofstream(raw) << std::string(1 << 20, 'r');
  const std::string empty = directory.file("empty");
  std::ofstream(empty).flush();
  for (const cli::Arguments& command : {cli::Arguments{"info"}, {"tree"}, {"snapshot", "list"}, {"check"}}) {
    for (const std::string& path :
         {raw, empty, directory.file("missing"), std::string("/dev/null"), std::string("/tmp")}) {
      cli::Arguments line = command;
      line.push_back(path);
      expect_failure(cli::kFailure, path, line);
    }
  }
}

TEST_F(CliInspect, SaysWhatWasCutShort) {
  std::filesystem::resize_file(image, 100);
  expect_failure(cli::kFailure, "(100 bytes)", {"info", image});
  expect_failure(cli::kFailure, "it was cut short; run fvd check", {"info", image});
}

TEST_F(CliInspect, AnImageThatCannotBeOpenedIsToBeChecked) {
  fvd_ok({"snapshot", "create", image, "s1"});
  std::filesystem::resize_file(image, 8192);
  expect_failure(cli::kFailure, "beyond the end of the file", {"info", image});
  expect_failure(cli::kFailure, "; run fvd check", {"info", image});
}

TEST_F(CliInspect, ReadingChangesNoByte) {
  grow_tree();
  const auto content = [&] {
    std::ifstream file(image, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string before = content();
  fvd_ok({"info", image});
  fvd_ok({"tree", image});
  fvd_ok({"snapshot", "list", image});
  fvd_ok({"check", image});
  EXPECT_TRUE(content() == before);
}

}  // namespace
}  // namespace fvd::test
