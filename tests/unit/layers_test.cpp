// The shape of the source tree: which folder may include which, what stands at the top, and that each public header
// compiles alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace fvd::test {
namespace {

namespace fs = std::filesystem;

const fs::path kTop = FVD_SOURCE_DIR;

// Ground up: each folder of src/ may include those before it, and the public headers.
const std::vector<std::string> kLayers{"base",    "io",    "format", "map",   "journal", "snapshot",
                                       "backing", "image", "stream", "check", "cli"};
// Those that may include less than all before them.
const std::map<std::string, std::set<std::string>> kStricter{{"check", {"base", "io", "format"}}};

bool is_source(const fs::path& path) { return path.extension() == ".cpp" || path.extension() == ".h"; }

std::vector<fs::path> sources_under(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && is_source(entry.path())) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// What a file includes in quotation marks, or in angle brackets.
std::vector<std::string> includes_of(const fs::path& path, char open, char close) {
  std::vector<std::string> includes;
  std::ifstream file(path);
  const std::regex directive(std::string("^\\s*#\\s*include\\s*") + open + "([^" + close + "]+)" + close);
  std::smatch match;
  for (std::string line; std::getline(file, line);) {
    if (std::regex_search(line, match, directive)) includes.push_back(match[1]);
  }
  return includes;
}

bool may_include(const std::string& layer, const std::string& other) {
  if (layer == other) return true;
  const auto strict = kStricter.find(layer);
  if (strict != kStricter.end()) return strict->second.contains(other);
  return std::find(kLayers.begin(), kLayers.end(), other) < std::find(kLayers.begin(), kLayers.end(), layer);
}

TEST(Layers, EachFolderOfSrcIsALayer) {
  for (const auto& entry : fs::directory_iterator(kTop / "src")) {
    if (entry.is_directory()) {
      EXPECT_NE(std::find(kLayers.begin(), kLayers.end(), entry.path().filename()), kLayers.end()) << entry.path();
    }
  }
  for (const std::string& layer : kLayers) EXPECT_TRUE(fs::is_directory(kTop / "src" / layer)) << layer;
}

TEST(Layers, EachIncludesOnlyThoseBelowIt) {
  for (const std::string& layer : kLayers) {
    for (const fs::path& file : sources_under(kTop / "src" / layer)) {
      for (const std::string& include : includes_of(file, '"', '"')) {
        if (include.starts_with("fvd/")) continue;
        const std::string other = include.substr(0, include.find('/'));
        EXPECT_NE(include.find('/'), std::string::npos) << file << " includes \"" << include << "\" without its folder";
        EXPECT_TRUE(may_include(layer, other)) << file << " includes \"" << include << '"';
      }
    }
  }
}

TEST(Layers, TheLibraryKnowsNothingOfFuse) {
  for (const fs::path& file : sources_under(kTop / "src")) {
    for (const std::string& include : includes_of(file, '<', '>')) {
      EXPECT_FALSE(include.starts_with("fuse")) << file << " includes <" << include << '>';
      EXPECT_FALSE(include.starts_with("linux/fuse")) << file << " includes <" << include << '>';
    }
  }
}

TEST(Layers, TheDaemonHoldsNoStorageLogic) {
  const std::set<std::string> closed{"format", "map", "journal", "snapshot", "backing", "stream", "check", "cli"};
  for (const fs::path& file : sources_under(kTop / "fuse")) {
    for (const std::string& include : includes_of(file, '"', '"')) {
      EXPECT_FALSE(closed.contains(include.substr(0, include.find('/')))) << file << " includes \"" << include << '"';
    }
  }
}

TEST(Layers, PublicHeadersIncludeOnlyPublicHeaders) {
  for (const fs::path& file : sources_under(kTop / "include")) {
    for (const std::string& include : includes_of(file, '"', '"')) {
      EXPECT_TRUE(include.starts_with("fvd/")) << file << " includes \"" << include << '"';
    }
  }
}

TEST(Layers, EachPublicHeaderCompilesAlone) {
  for (const fs::path& file : sources_under(kTop / "include")) {
    const std::string command =
        std::string("'") + FVD_CXX_COMPILER + "' -std=c++20 -fsyntax-only -Wall -Wextra -Werror" + " -I'" +
        (kTop / "include").string() + "' -I'" + FVD_BINARY_DIR + "/include' -x c++ '" + file.string() + "' 2>&1";
    // NOLINTNEXTLINE(cert-env33-c): the compiler is a program
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }
}

TEST(Layers, FilesAreOfAReadableSize) {
  for (const char* folder : {"src", "include", "fuse", "tests", "examples"}) {
    for (const fs::path& path : sources_under(kTop / folder)) {
      std::ifstream file(path);
      EXPECT_LE(std::count(std::istreambuf_iterator<char>(file), {}, '\n'), 800) << path;
    }
  }
}

TEST(Layers, TheTopLevelHoldsNothingElse) {
  const std::set<std::string> allowed{
      "CMakeLists.txt", "src",          "include",         "fuse",    "tests",     "examples",         "docs",
      "bench",          "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "CMakePresets.json"};
  for (const auto& entry : fs::directory_iterator(kTop)) {
    const std::string name = entry.path().filename();
    if (name.starts_with('.') || name.starts_with("build")) continue;
    EXPECT_TRUE(allowed.contains(name)) << name;
  }
  for (const char* name :
       {"CMakeLists.txt", "src", "include", "fuse", "tests", "examples", "README.md", "docs", "CHANGELOG.md",
        "CONTRIBUTING.md", "LICENSE", "CMakePresets.json", ".ci", ".clang-format", ".clang-tidy"}) {
    EXPECT_TRUE(fs::exists(kTop / name)) << name;
  }
}

}  // namespace
}  // namespace fvd::test
