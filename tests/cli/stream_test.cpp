// fvd send and fvd receive: round trips, and streams that are cut, damaged or do not fit.
#include "format/stream.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "base/endian.h"
#include "cli_rig.h"
#include "fvd/stream.h"

namespace fvd::test {
namespace {

constexpr std::uint64_t kSize = 20 * kSmallChunk + 512;

std::string file_bytes(const std::string& path) {
  std::string bytes(std::filesystem::file_size(path), '\0');
  std::ifstream(path, std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

class CliStream : public ::testing::Test {
 protected:
  // s1 -> s2 -> s3, s1 -> other; the disk grows between s2 and s3.
  void SetUp() override {
    fvd_ok({"create", "--chunk-size", "64K", source, std::to_string(kSize)});
    change(source, [](Image& image) {
      write_all(image, 3 * kSmallChunk, pattern(4 * kSmallChunk, 1));
      write_all(image, kSize - 512, pattern(512, 2));
      EXPECT_OK(image.snapshot_create("s1", "the first\nof them"));
      write_all(image, 4 * kSmallChunk + 8192, pattern(4096, 3));
      EXPECT_OK(image.discard(5 * kSmallChunk, kSmallChunk));
      write_all(image, 100, pattern(9, 4));
      take(image, "s2");
      EXPECT_OK(image.resize(kSize + 3 * kSmallChunk, false));
      write_all(image, kSize + kSmallChunk, pattern(70000, 5));
      take(image, "s3");
      EXPECT_OK(image.snapshot_goto("s1"));
      write_all(image, 6 * kSmallChunk, pattern(100000, 6));
      take(image, "other");
    });
  }

  template <typename Change>
  static void change(const std::string& path, Change&& act) {
    auto image = Image::open(path, quiet());
    ASSERT_OK(image);
    act(**image);
    ASSERT_OK((*image)->close());
  }

  [[nodiscard]] std::string send(const std::string& name, const std::string& old = {}) const {
    return old.empty() ? fvd_ok({"send", source, name}) : fvd_ok({"send", "-i", old, source, name});
  }
  static Outcome receive_outcome(const std::string& image, const std::string& stream, const std::string& name) {
    return name.empty() ? fvd({"receive", image}, stream) : fvd({"receive", "--name", name, image}, stream);
  }
  static void receive(const std::string& image, const std::string& stream, const std::string& name = {}) {
    const Outcome outcome = receive_outcome(image, stream, name);
    EXPECT_EQ(outcome.status, cli::kSuccess) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    EXPECT_TRUE(outcome.out.starts_with("received snapshot ")) << outcome.out;
    fvd_ok({"check", image});
  }
  // Not a byte of the image changes.
  static void refuse(const std::string& image, const std::string& stream, const std::string& part,
                     const std::string& name = {}) {
    const std::string before = file_bytes(image);
    const Outcome outcome = receive_outcome(image, stream, name);
    EXPECT_EQ(outcome.status, cli::kFailure) << outcome.out;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << "no \"" << part << "\" in: " << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(file_bytes(image) == before) << "the image has changed; " << outcome.err;
  }
  [[nodiscard]] std::string target(const std::string& name, const std::string& chunk = "64K",
                                   const std::string& block = "4K") const {
    std::string path = directory.file(name);
    fvd_ok({"create", "--chunk-size", chunk, "--block-size", block, path, "1M"});
    return path;
  }
  // That both images have the snapshot, with the same content, description and time.
  void expect_same(const std::string& image, const std::string& name, const std::string& parent,
                   const std::string& name_there = {}) const {
    auto here = Image::open(source, quiet());
    auto there = Image::open(image, quiet());
    ASSERT_OK(here);
    ASSERT_OK(there);
    const auto a = (*here)->find_snapshot(name);
    const auto b = (*there)->find_snapshot(name_there.empty() ? name : name_there);
    ASSERT_TRUE(a.has_value() && b.has_value());
    EXPECT_EQ(a->description, b->description);
    EXPECT_EQ(a->created_seconds, b->created_seconds);
    EXPECT_EQ(a->created_nanoseconds, b->created_nanoseconds);
    EXPECT_EQ(difference(read_snapshot(**here, a->name), read_snapshot(**there, b->name)), "");
    const auto found = (*there)->find_snapshot(b->parent);
    EXPECT_EQ(found ? found->name : "", parent);
  }

  TemporaryDirectory directory;
  const std::string source = directory.file("source.fvd");
};

TEST_F(CliStream, CarriesAWholeTreeToImagesOfAnyGeometry) {
  for (const auto& [chunk, block] : {std::pair{"64K", "4K"}, std::pair{"64K", "64K"}, std::pair{"1M", "512"},
                                     std::pair{"128K", "8K"}, std::pair{"4M", "4K"}}) {
    SCOPED_TRACE(std::string(chunk) + " " + block);
    const std::string copy = target(std::string("copy") + chunk + block, chunk, block);
    receive(copy, send("s1"));
    receive(copy, send("s2", "s1"));
    receive(copy, send("s3", "s2"));
    receive(copy, send("other", "s3"));  // to another branch
    expect_same(copy, "s1", "");
    expect_same(copy, "s2", "s1");
    expect_same(copy, "s3", "s2");
    expect_same(copy, "other", "s1");
  }
}

TEST_F(CliStream, HoldsOnlyWhatItMust) {
  EXPECT_LT(send("s1").size(), 4 * kSmallChunk + 4096);
  EXPECT_LT(send("s2", "s1").size(), 3 * 4096U);
  EXPECT_EQ(send("s2"), send("s2"));
  const std::string copy = target("copy");
  receive(copy, send("s1"));
  const std::uint64_t before = fvd_json({"info", "--json", copy})["chunks_used"];
  receive(copy, send("s2", "s1"));
  const std::uint64_t after = fvd_json({"info", "--json", copy})["chunks_used"];
  EXPECT_LE(after, before + 3) << "two chunks of data and a table; the rest is shared";
}

// A chunk that was completed in the background is another one to the metadata, with the same data in most of it.
TEST_F(CliStream, LeavesOutWhatWasOnlyCopied) {
  OpenOptions completing = quiet();
  completing.completion_idle = std::chrono::milliseconds(1);
  auto image = Image::open(source, completing);
  ASSERT_OK(image);
  EXPECT_OK((*image)->snapshot_goto("s1"));
  write_all(**image, 4 * kSmallChunk + 4096, pattern(4096, 7));
  write_all(**image, 6 * kSmallChunk + 8192, zeros(4096));
  write_all(**image, kSize - 512, pattern(512, 8));
  const auto completed = [&] { return (*image)->info().partial_chunks == 0; };
  for (int i = 0; i < 20000 && !completed(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_TRUE(completed());
  take(**image, "completed");
  ASSERT_OK((*image)->close());
  image->reset();
  const std::string stream = send("completed", "s1");
  EXPECT_LT(stream.size(), 4096U + 512 + 2048);
  const std::string copy = target("copy");
  receive(copy, send("s1"));
  receive(copy, stream);
  expect_same(copy, "completed", "s1");
}

// Somebody waits for each piece: in the daemon a thread that serves everybody.
TEST_F(CliStream, APieceIsNotLongInComingWhereNothingDiffers) {
  constexpr std::uint64_t kMuch = 96 * kMiB;
  const std::string path = directory.file("much.fvd");
  fvd_ok({"create", path, std::to_string(kMuch)});
  std::string stream;
  change(path, [&](Image& image) {
    const Bytes content = pattern(kMuch, 1);
    write_all(image, 0, content);
    const SnapshotId old = take(image, "old");
    write_all(image, 0, content);
    const SnapshotId same = take(image, "same");
    auto sender = SendStream::open(image, same, old);
    ASSERT_OK(sender);
    Bytes piece(1 << 20);
    for (std::uint64_t position = 0;;) {
      const auto count = (*sender)->read(piece);
      ASSERT_OK(count);
      if (*count == 0) break;
      stream.append(reinterpret_cast<const char*>(piece.data()), *count);
      EXPECT_LE((*sender)->position() - position, 33 * kMiB);
      position = (*sender)->position();
    }
  });
  EXPECT_LT(stream.size(), 64U << 10);
  const std::string copy = target("copy");
  receive(copy, fvd_ok({"send", path, "old"}));
  receive(copy, stream);
}

TEST_F(CliStream, WhatWasReceivedCanBeSentOn) {
  const std::string first = target("first", "1M");
  receive(first, send("s1"), "renamed");
  const std::string second = target("second");
  receive(second, fvd_ok({"send", first, "renamed"}));
  receive(second, send("s2", "s1"));  // the name in between does not matter
  expect_same(second, "s2", "renamed");
  expect_same(second, "s1", "", "renamed");
}

TEST_F(CliStream, FindsItsParent) {
  const std::string full = target("full");
  receive(full, send("s3"));
  expect_same(full, "s3", "");
  const std::string leap = target("leap");
  receive(leap, send("s1"));
  receive(leap, send("s3", "s1"));
  expect_same(leap, "s3", "s1");  // s2 is not there, and s1 is an ancestor
  const std::string branch = target("branch");
  receive(branch, send("s3"));
  receive(branch, send("other", "s3"));
  expect_same(branch, "other", "");  // neither its parent is there, nor an ancestor
}

TEST_F(CliStream, LeavesCurrentStateAlone) {
  const std::string copy = target("copy");
  change(copy, [](Image& image) {
    write_all(image, 0, pattern(kMiB, 7));
    take(image, "own");
    write_all(image, 5000, pattern(100, 8));
  });
  receive(copy, send("s1"));
  receive(copy, send("s2", "s1"));
  EXPECT_EQ(fvd_json({"tree", "--json", copy})["line"], "own->(current-state), s1->s2");
  change(copy, [](Image& image) {
    Bytes wanted = pattern(kMiB, 7);
    const Bytes piece = pattern(100, 8);
    std::copy(piece.begin(), piece.end(), wanted.begin() + 5000);
    EXPECT_EQ(difference(wanted, read_all(image)), "");
  });
}

TEST_F(CliStream, RefusesWhatDoesNotFit) {
  const std::string copy = target("copy");
  refuse(copy, send("s2", "s1"), "does not have that snapshot");
  receive(copy, send("s1"));
  refuse(copy, send("s1"), "in the image already, as \"s1\"");
  refuse(copy, send("s1"), "in the image already, as \"s1\"", "again");
  refuse(copy, send("s2", "s1"), "\"s1\" already", "s1");
  refuse(copy, send("s2", "s1"), "cannot have that name", "a/b");
  refuse(copy, send("s3", "s2"), "receive \"s2\" first");
  fvd_ok({"snapshot", "create", copy, "s2"});
  refuse(copy, send("s3", "s2"), "is another one, taken at another time");
  refuse(copy, send("s2", "s1"), "there is a snapshot \"s2\" already; choose another name with --name\n");
  refuse(copy, send("s1"), "delete that first to receive it again\n");
  refuse(copy, "", "ends too early");
  refuse(copy, "hello, this is not a stream\n", "no stream of a snapshot");
  expect_failure(cli::kFailure, "no snapshot \"none\"", {"send", source, "none"});
  expect_failure(cli::kFailure, "no snapshot \"none\"", {"send", "-i", "none", source, "s1"});
  expect_failure(cli::kFailure, "since itself", {"send", "-i", "s1", source, "s1"});
  EXPECT_EQ(fvd({"receive", "--name", "", copy}).status, cli::kUsage);
}

TEST_F(CliStream, AnImageInUseIsReadByForceOnly) {
  const std::string alone = send("s2", "s1");
  const auto user = Image::open(source, quiet());
  ASSERT_OK(user);
  const char* binary = std::getenv("FVD_BINARY");  // locks are between processes
  ASSERT_NE(binary, nullptr);
  const std::string out = directory.file("out");
  const auto send_with = [&](const std::string& option) {
    // NOLINTNEXTLINE(cert-env33-c)
    return WEXITSTATUS(std::system(
        (std::string("'") + binary + "' send " + option + " -i s1 '" + source + "' s2 > '" + out + "' 2> /dev/null")
            .c_str()));
  };
  EXPECT_EQ(send_with(""), cli::kFailure);
  EXPECT_EQ(file_bytes(out), "");
  EXPECT_EQ(send_with("-U"), cli::kSuccess);
  EXPECT_TRUE(file_bytes(out) == alone);
}

TEST_F(CliStream, ADiskThatIsTooLargeForTheChunkSizeIsRefused) {
  const std::string large = directory.file("large.fvd");
  fvd_ok({"create", "--chunk-size", "1M", large, "20T"});
  fvd_ok({"snapshot", "create", large, "huge"});
  const std::string stream = fvd_ok({"send", large, "huge"});
  EXPECT_LT(stream.size(), 1000U);
  refuse(target("copy"), stream, "too large for chunks of 65536 bytes");
  const std::string fits = target("fits", "128K");
  receive(fits, stream);
  EXPECT_EQ(fvd_json({"snapshot", "list", "--json", fits})[0]["virtual_size"], 20ULL << 40);
}

// Where each part of a stream ends: the header, then each record.
std::vector<std::size_t> boundaries(const std::string& stream) {
  const auto* bytes = reinterpret_cast<const std::byte*>(stream.data());
  std::vector<std::size_t> ends{load_le<std::uint32_t>(bytes + 12)};
  while (ends.back() < stream.size()) {
    const auto record = format::StreamRecord::decode({bytes + ends.back(), format::StreamRecord::kSize});
    EXPECT_OK(record);
    if (!record) break;
    ends.push_back(ends.back() + format::StreamRecord::kSize + record->payload_size());
  }
  EXPECT_EQ(ends.back(), stream.size());
  return ends;
}

TEST_F(CliStream, AStreamThatIsCutChangesNothing) {
  const std::string copy = target("copy");
  receive(copy, send("s1"));
  const std::string stream = send("s3", "s1");
  const std::vector<std::size_t> ends = boundaries(stream);
  EXPECT_GE(ends.size(), 6U);
  for (const std::size_t end : ends) {
    for (const std::size_t at : {end - 1, end, end + 1, end + format::StreamRecord::kSize}) {
      if (at < stream.size()) refuse(copy, stream.substr(0, at), "ends too early");
    }
  }
  std::mt19937_64 random(environment("FVD_TEST_SEED", 1));
  for (int i = 0; i < 20; ++i) refuse(copy, stream.substr(0, random() % stream.size()), "ends too early");
  refuse(copy, stream + "x", "follows its end");
  refuse(copy, stream + stream, "follows its end");
  receive(copy, stream);
}

TEST_F(CliStream, AStreamThatIsDamagedChangesNothing) {
  const std::string copy = target("copy");
  receive(copy, send("s1"));
  const std::string stream = send("s3", "s1");
  std::vector<std::size_t> places;
  // Every byte of the header and of each record's head, the first and last of each payload, and some between.
  const std::vector<std::size_t> ends = boundaries(stream);
  for (std::size_t at = 0; at < ends[0]; ++at) places.push_back(at);
  for (std::size_t i = 0; i + 1 < ends.size(); ++i) {
    for (std::size_t at = ends[i]; at < std::min(ends[i] + format::StreamRecord::kSize + 1, ends[i + 1]); ++at) {
      places.push_back(at);
    }
    places.push_back(ends[i + 1] - 1);
  }
  std::mt19937_64 random(environment("FVD_TEST_SEED", 1));
  for (int i = 0; i < 50; ++i) places.push_back(random() % stream.size());
  for (const std::size_t at : places) {
    SCOPED_TRACE("a bit of byte " + std::to_string(at));
    std::string damaged = stream;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << random() % 8));
    refuse(copy, damaged, "stream");
  }
  receive(copy, stream);
}

TEST_F(CliStream, RecordsOfAnotherStreamOrInAnotherOrderAreRefused) {
  const std::string copy = target("copy");
  const std::string stream = send("s1");
  const std::string other = send("other");
  const auto a = boundaries(stream);
  const auto b = boundaries(other);
  ASSERT_GE(a.size(), 4U);
  const auto part = [](const std::string& from, const std::vector<std::size_t>& ends, std::size_t i) {
    return from.substr(ends[i], ends[i + 1] - ends[i]);
  };
  refuse(copy, stream.substr(0, a[0]) + other.substr(b[0]), "another stream's");
  refuse(copy, stream.substr(0, a[0]) + part(stream, a, 1) + part(stream, a, 0) + stream.substr(a[2]), "missing");
  refuse(copy, stream.substr(0, a[1]) + part(stream, a, 0) + stream.substr(a[1]), "missing");
  refuse(copy, stream.substr(0, a[0]) + stream.substr(a[1]), "missing");
  refuse(copy, stream.substr(0, a[1]) + stream.substr(a[a.size() - 2]), "missing");
}

TEST_F(CliStream, TwoSnapshotsOfOneMomentAreNotGuessedAt) {
  const std::string copy = target("copy");
  receive(copy, send("s1"));
  change(copy, [](Image& image) {
    const auto s1 = image.find_snapshot("s1");
    ImportOptions twin;
    twin.name = "twin";
    twin.virtual_size = s1->virtual_size;
    twin.created_seconds = s1->created_seconds;
    twin.created_nanoseconds = s1->created_nanoseconds;
    const auto import = image.import_snapshot(twin);
    ASSERT_OK(import);
    ASSERT_OK((*import)->commit());
  });
  refuse(copy, send("s2", "s1"), "cannot be told");
}

// Through the program itself, since in process there are no descriptors.
TEST_F(CliStream, OutputThatCannotBeWrittenIsAFailure) {
  const char* binary = std::getenv("FVD_BINARY");
  ASSERT_NE(binary, nullptr);
  const std::string send_it = std::string("'") + binary + "' send '" + source + "' s1";
  const std::string err = directory.file("err");
  // NOLINTNEXTLINE(cert-env33-c): the command is the test
  int status = std::system((send_it + " > /dev/full 2> '" + err + "'").c_str());
  EXPECT_EQ(WEXITSTATUS(status), cli::kFailure);
  EXPECT_EQ(file_bytes(err), "fvd: cannot write to standard output (is the disk full?)\n");
  const std::string copy = target("copy");
  const std::string pipe = send_it + " | '" + binary + "' receive '" + copy + "' > /dev/null";
  // NOLINTNEXTLINE(cert-env33-c)
  status = std::system(pipe.c_str());
  EXPECT_EQ(WEXITSTATUS(status), cli::kSuccess);
  expect_same(copy, "s1", "");
}

TEST_F(CliStream, TerminalsAreRefused) {
  const char* binary = std::getenv("FVD_BINARY");
  ASSERT_NE(binary, nullptr);
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) GTEST_SKIP() << "no pseudo-terminal here";
  const std::string terminal = ::ptsname(master);
  const std::string err = directory.file("err");
  for (const std::string& command :
       {"send '" + source + "' s1 > " + terminal, "receive '" + source + "' < " + terminal}) {
    // NOLINTNEXTLINE(cert-env33-c)
    const int status =
        std::system((std::string("timeout 20 '") + binary + "' " + command + " 2> '" + err + "'").c_str());
    EXPECT_EQ(WEXITSTATUS(status), cli::kUsage) << command;
    EXPECT_NE(file_bytes(err).find("is a terminal"), std::string::npos) << file_bytes(err);
  }
  ::close(master);
}

}  // namespace
}  // namespace fvd::test
