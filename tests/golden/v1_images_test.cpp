// Images that the original driver made itself: what the disk in them holds is known by its SHA-256.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "check/check.h"
#include "io/posix_file.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

const std::string kFolder = FVD_SOURCE_DIR "/tests/golden/v1/";

std::string sha256_of(const std::string& path) {
  std::string text(64, '\0');
  FILE* pipe = ::popen(("sha256sum <'" + path + "'").c_str(), "r");
  if (pipe == nullptr || std::fread(text.data(), 1, text.size(), pipe) != text.size()) text = "no sha256sum";
  if (pipe != nullptr) (void)::pclose(pipe);
  return text;
}

std::string sha256_of(StateReader& state, const std::string& scratch) {
  const Bytes bytes = read_all(state);
  std::ofstream(scratch, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return sha256_of(scratch);
}

class V1Images : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("xz --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "xz is not installed (xz-utils)";
    const std::string unpack = "tar -xJf '" + kFolder + "images.tar.xz' -C '" + directory_.file("") + "'";
    ASSERT_EQ(std::system(unpack.c_str()), 0);
    std::ifstream(kFolder + "manifest.json") >> manifest_;
    ASSERT_GE(manifest_.size(), 9U);
  }

  std::map<std::string, std::string> hashes() const {
    std::map<std::string, std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.file(""))) {
      all[entry.path().filename()] = sha256_of(entry.path());
    }
    return all;
  }

  TemporaryDirectory directory_;
  TemporaryDirectory scratch_;
  nlohmann::json manifest_;
};

TEST_F(V1Images, AreReadAsTheOriginalWroteThem) {
  const auto before = hashes();
  for (const auto& [name, wanted] : manifest_.items()) {
    SCOPED_TRACE(name);
    EXPECT_EQ(before.at(name), wanted["sha256_image"]);
    OpenOptions reading;
    reading.read_only = true;
    auto image = Image::open(directory_.file(name), reading);
    ASSERT_OK(image);
    EXPECT_EQ((*image)->virtual_size(), wanted["content_bytes"]);
    EXPECT_EQ((*image)->info().was_clean, !name.starts_with("e_dirty"));
    EXPECT_EQ(sha256_of(**image, scratch_.file("content")), wanted["sha256_content"]);
    auto file = PosixFile::open(directory_.file(name), {.read_only = true});
    ASSERT_OK(file);
    EXPECT_EQ(check_findings(**file), "");
  }
  EXPECT_EQ(hashes(), before) << "something was written";
}

}  // namespace
}  // namespace fvd::test
