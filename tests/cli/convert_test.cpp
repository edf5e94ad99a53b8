// convert and compare, against what qemu-img says where it is installed.
#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <streambuf>
#include <utility>

#include "cli_rig.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kDisk = 64 * kMiB;

class CliConvert : public CliImage {
 protected:
  // Data here and there, then s1, then more.
  void SetUp() override {
    CliImage::SetUp();
    auto open = Image::open(image, {});
    ASSERT_OK(open);
    write_all(**open, 3 * kMiB + 512, pattern(2 * kMiB, 1));
    write_all(**open, 40 * kMiB, pattern(70000, 2));
    write_all(**open, 41 * kMiB, zeros(kMiB));  // written, but zeros
    write_all(**open, kDisk - 512, pattern(512, 3));
    frozen = read_all(**open);
    take(**open, "s1");
    write_all(**open, 3 * kMiB, pattern(4096, 4));
    write_all(**open, 20 * kMiB, pattern(100, 5));
    current = read_all(**open);
    ASSERT_OK((*open)->close());
  }

  static Bytes content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    Bytes bytes(std::filesystem::file_size(path));
    file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return bytes;
  }
  static std::uint64_t host_bytes(const std::string& path) {
    struct stat st {};
    EXPECT_EQ(::stat(path.c_str(), &st), 0) << path;
    return static_cast<std::uint64_t>(st.st_blocks) * 512;
  }
  static Bytes state(const std::string& path) {
    auto open = Image::open(path, {.read_only = true});
    EXPECT_OK(open);
    return open ? read_all(**open) : Bytes();
  }

  Bytes frozen;
  Bytes current;
  const std::string raw = directory.file("out.raw");
  const std::string copy = directory.file("copy.fvd");
};

TEST_F(CliConvert, CopiesAnyStateOutSparse) {
  EXPECT_EQ(fvd_ok({"convert", image, raw}), "");
  EXPECT_EQ(difference(current, content(raw)), "");
  EXPECT_LT(host_bytes(raw), 3 * kMiB) << "holes stay holes, and zeros become holes";
  fvd_ok({"convert", "-s", "s1", "--force", image, raw});
  EXPECT_EQ(difference(frozen, content(raw)), "");
  expect_failure(cli::kFailure, "\"s9\"", {"convert", "-s", "s9", "--force", image, raw});
  EXPECT_EQ(difference(frozen, content(raw)), "") << "nothing is touched before the source is there";
}

// Through the program itself, which the signal of the limit would end before it can clear up.
TEST_F(CliConvert, ALimitOfTheSizeOfFilesIsAFailureLikeOthers) {
  const char* binary = std::getenv("FVD_BINARY");
  ASSERT_NE(binary, nullptr);
  const std::string err = directory.file("err");
  // NOLINTNEXTLINE(cert-env33-c): the command is the test
  const int status = std::system(
      ("ulimit -f 2000; exec '" + std::string(binary) + "' convert '" + image + "' '" + raw + "' 2> '" + err + "'")
          .c_str());
  ASSERT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), cli::kFailure);
  std::ifstream said(err);
  EXPECT_EQ(
      std::string(std::istreambuf_iterator<char>(said), {}),
      "fvd: truncate " + raw + ": File too large; the file system, or a limit (ulimit -f), lets no file be so large\n");
  EXPECT_FALSE(std::filesystem::exists(raw));
}

TEST_F(CliConvert, CopiesARawFileIn) {
  fvd_ok({"convert", image, raw});
  fvd_ok({"convert", "-O", "fvd", "--chunk-size", "64K", "--block-size", "512", raw, copy});
  EXPECT_EQ(difference(current, state(copy)), "");
  const auto info = fvd_json({"info", "--json", copy});
  EXPECT_EQ(info["chunk_size"], 65536);
  EXPECT_EQ(info["block_size"], 512);
  EXPECT_LT(info["host_allocated"], 6 * kMiB);
  EXPECT_EQ(fvd({"check", copy}).status, 0);
}

TEST_F(CliConvert, CopiesFromImageToImage) {
  fvd_ok({"convert", "-s", "s1", "-O", "fvd", image, copy});
  EXPECT_EQ(difference(frozen, state(copy)), "");
  EXPECT_EQ(fvd_json({"snapshot", "list", "--json", copy}).size(), 0U);
}

TEST_F(CliConvert, ARawDiskThatEndsWithinASectorIsFilledUp) {
  std::ofstream(raw, std::ios::binary) << std::string(1000001, 'x');
  fvd_ok({"convert", "-O", "fvd", raw, copy});
  Bytes wanted(1000001, std::byte{'x'});
  wanted.resize(1000448);
  EXPECT_EQ(difference(wanted, state(copy)), "");
  const std::string again = directory.file("again.raw");
  fvd_ok({"convert", raw, again});
  EXPECT_EQ(std::filesystem::file_size(again), 1000001U);
}

TEST_F(CliConvert, AnEmptyRawFileMakesAnEmptyRawFile) {
  const std::string empty = directory.file("empty");
  std::ofstream(empty).flush();
  fvd_ok({"convert", empty, raw});
  EXPECT_EQ(std::filesystem::file_size(raw), 0U);
  expect_failure(cli::kFailure, copy, {"convert", "-O", "fvd", empty, copy});
  EXPECT_FALSE(std::filesystem::exists(copy));
}

TEST_F(CliConvert, TheFormatCanBeForced) {
  fvd_ok({"convert", "-f", "raw", image, raw});
  EXPECT_EQ(difference(content(image), content(raw)), "") << "the image itself, as a raw disk";
  const std::string text = directory.file("text");
  std::ofstream(text) << "no image";
  expect_failure(cli::kFailure, text, {"convert", "-f", "fvd", text, copy});
  expect_failure(cli::kUsage, "raw or fvd", {"convert", "-f", "qcow2", text, copy});
  expect_failure(cli::kUsage, "raw or fvd", {"convert", "-O", "qcow2", text, copy});
  expect_failure(cli::kUsage, "-O fvd", {"convert", "--chunk-size", "1M", text, copy});
  expect_failure(cli::kFailure, "no snapshots", {"convert", "-s", "s1", text, copy});
  EXPECT_FALSE(std::filesystem::exists(copy));
}

TEST_F(CliConvert, AnImageOfAnotherKindIsNotTakenForARawDisk) {
  const std::string other = directory.file("other.qcow2");
  std::ofstream(other) << "QFI\xfb" << std::string(4092, 'x');
  expect_failure(cli::kFailure, "other.qcow2 is not raw but qcow2", {"convert", "-O", "fvd", other, copy});
  EXPECT_FALSE(std::filesystem::exists(copy));
  expect_failure(cli::kFailure, "not raw but qcow2", {"measure", other});
  expect_failure(2, "not raw but qcow2", {"compare", image, other});
  fvd_ok({"convert", "-f", "raw", "-O", "fvd", other, copy});
  fvd_ok({"compare", "-F", "raw", copy, other});
}

TEST_F(CliConvert, NeverOverwritesUnlessForced) {
  std::ofstream(raw) << "precious";
  for (const char* format : {"raw", "fvd"}) {
    expect_failure(cli::kFailure, "--force", {"convert", "-O", format, image, raw});
    EXPECT_EQ(content(raw).size(), 8U);
  }
  expect_failure(cli::kFailure, "is what is read from", {"convert", "--force", image, image});
  const std::string link = directory.file("link");
  std::filesystem::create_symlink(image, link);
  expect_failure(cli::kFailure, "is what is read from", {"convert", "--force", "-O", "fvd", image, link});
  EXPECT_EQ(difference(current, state(image)), "");
}

TEST_F(CliConvert, NeverOverwritesItsOwnBase) {
  fvd_ok({"convert", image, raw});
  const std::string clone = directory.file("clone.fvd");
  fvd_ok({"create", "-b", "out.raw", clone});
  expect_failure(cli::kFailure, "is what is read from", {"convert", "--force", clone, raw});
  EXPECT_EQ(difference(current, content(raw)), "");
}

TEST_F(CliConvert, AnImageInUseIsNeitherReadNorReplaced) {
  auto open = Image::open(image, {});
  ASSERT_OK(open);
  expect_failure(cli::kFailure, "mounted", {"convert", image, raw});
  EXPECT_FALSE(std::filesystem::exists(raw));
  fvd_ok({"convert", "-U", "-s", "s1", image, raw});
  EXPECT_EQ(difference(frozen, content(raw)), "");
  expect_failure(cli::kFailure, "in use", {"convert", "--force", raw, image});
  expect_failure(cli::kFailure, "in use", {"convert", "--force", "-O", "fvd", raw, image});
  EXPECT_EQ(difference(current, read_all(**open)), "");
}

TEST_F(CliConvert, WhatCannotBeFinishedIsTakenAway) {
  // Cut off where data is: the table still names the chunks, which a reader refuses before anything is made.
  const std::string broken = directory.file("broken.fvd");
  std::filesystem::copy_file(image, broken);
  std::filesystem::resize_file(broken, std::filesystem::file_size(broken) / 2);
  expect_failure(cli::kFailure, broken, {"convert", broken, raw});
  EXPECT_FALSE(std::filesystem::exists(raw));
  expect_failure(cli::kFailure, "/no/such", {"convert", image, "/no/such/directory/out.raw"});
  // /dev/full is no block device; nothing that is neither file nor device is written to.
  expect_failure(cli::kFailure, "/dev/full", {"convert", "--force", image, "/dev/full"});
}

TEST_F(CliConvert, CompareFollowsQemuImg) {
  fvd_ok({"convert", "-s", "s1", image, raw});
  EXPECT_EQ(fvd_ok({"compare", "-s", "s1", image, raw}), "The disks are identical.\n");
  EXPECT_EQ(fvd_ok({"compare", "-S", "s1", raw, image}), "The disks are identical.\n");
  const Outcome differ = fvd({"compare", image, raw});
  EXPECT_EQ(differ.status, 1) << differ.err;
  EXPECT_EQ(differ.out, "The disks differ: first at offset " + std::to_string(3 * kMiB) + ".\n");
  EXPECT_EQ(fvd({"compare", "-s", "s1", image, image}).status, 1);
  EXPECT_EQ(fvd({"compare", "-s", "s1", "-S", "s1", image, image}).status, 0);
  expect_failure(2, "/no/such", {"compare", image, "/no/such"});
  expect_failure(2, "\"s9\"", {"compare", "-s", "s9", image, image});
  expect_failure(2, "raw or fvd", {"compare", "-F", "vdi", image, image});
}

TEST_F(CliConvert, ALargerDiskIsTheSameWhenItEndsInZeros) {
  fvd_ok({"convert", image, raw});
  std::filesystem::resize_file(raw, kDisk + 5 * kMiB);
  EXPECT_EQ(fvd({"compare", image, raw}).status, 0);
  EXPECT_EQ(fvd({"compare", raw, image}).status, 0);
  const Outcome strict = fvd({"compare", "--strict", image, raw});
  EXPECT_EQ(strict.status, 1);
  EXPECT_NE(strict.out.find("differ in size"), std::string::npos) << strict.out;
  std::ofstream(raw, std::ios::binary | std::ios::app) << 'x';
  const Outcome tail = fvd({"compare", raw, image});
  EXPECT_EQ(tail.status, 1);
  EXPECT_NE(tail.out.find("at offset " + std::to_string(kDisk + 5 * kMiB)), std::string::npos) << tail.out;
}

TEST_F(CliConvert, QemuImgAgrees) {
  if (std::system("command -v qemu-img >/dev/null") != 0) GTEST_SKIP() << "qemu-img is not installed";
  const auto shell = [](const std::string& line) {
    return WEXITSTATUS(std::system((line + " >/dev/null 2>&1").c_str()));
  };
  fvd_ok({"convert", "-s", "s1", image, raw});
  const std::string other = directory.file("current.raw");
  fvd_ok({"convert", image, other});
  EXPECT_EQ(shell("qemu-img compare -f raw -F raw " + raw + " " + other), 1);
  const std::string qcow2 = directory.file("x.qcow2");
  const std::string back = directory.file("back.raw");
  ASSERT_EQ(shell("qemu-img convert -f raw -O qcow2 " + raw + " " + qcow2), 0);
  EXPECT_EQ(shell("qemu-img compare -f raw -F qcow2 " + raw + " " + qcow2), 0);
  ASSERT_EQ(shell("qemu-img convert -f qcow2 -O raw " + qcow2 + " " + back), 0);
  fvd_ok({"convert", "-O", "fvd", back, copy});
  EXPECT_EQ(fvd({"compare", "-s", "s1", image, copy}).status, 0);
}

TEST_F(CliConvert, WhatIsNoDiskIsNoDestinationEvenByForce) {
  for (const std::string& path : {directory.file("."), std::string("/dev/full")}) {
    expect_failure(cli::kFailure, "neither a regular file nor a block device", {"convert", image, path});
    expect_failure(cli::kFailure, "neither a regular file nor a block device", {"convert", "--force", image, path});
  }
}

TEST_F(CliConvert, ProgressIsForTerminalsOnly) {
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(cli::run({"convert", image, raw}, {in, out, err, true, false}), 0);
  EXPECT_NE(err.str().find("convert ["), std::string::npos) << err.str();
  EXPECT_TRUE(err.str().ends_with("\r\033[K")) << "the bar is taken off again";
  EXPECT_EQ(out.str(), "");
}

// Sends a signal when the bar is first drawn.
class SignallingBuffer : public std::streambuf {
 protected:
  int_type overflow(int_type c) override {
    if (!std::exchange(sent_, true)) (void)std::raise(SIGTERM);
    return c;
  }

 private:
  bool sent_ = false;
};

TEST_F(CliConvert, ASignalToEndTakesTheUnfinishedCopyAway) {
  const std::string full = directory.file("full.raw");
  std::ofstream(full) << std::string(64 * kMiB, 'x');
  for (const char* format : {"raw", "fvd"}) {
    SignallingBuffer buffer;
    std::istringstream in;
    std::ostringstream out;
    std::ostream err(&buffer);
    EXPECT_EQ(cli::run({"convert", "-O", format, full, raw}, {in, out, err, true, false}), cli::kFailure);
    EXPECT_FALSE(std::filesystem::exists(raw)) << format;
  }
}

}  // namespace
}  // namespace fvd::test
