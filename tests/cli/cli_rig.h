// Runs the command line tool in process.
#ifndef FVD_TESTS_CLI_CLI_RIG_H_
#define FVD_TESTS_CLI_CLI_RIG_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "cli/cli.h"
#include "support/image_rig.h"

namespace fvd::test {

struct Outcome {
  int status = 0;
  std::string out;
  std::string err;

  [[nodiscard]] nlohmann::json json() const { return nlohmann::json::parse(out); }
};

inline Outcome fvd(const cli::Arguments& arguments, const std::string& input = {}) {
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  Outcome outcome;
  outcome.status = cli::run(arguments, {in, out, err});
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

// Runs what must succeed, and says nothing on standard error; returns what it printed.
inline std::string fvd_ok(const cli::Arguments& arguments) {
  const Outcome outcome = fvd(arguments);
  EXPECT_EQ(outcome.status, cli::kSuccess) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  return outcome.out;
}

inline nlohmann::json fvd_json(const cli::Arguments& arguments) { return nlohmann::json::parse(fvd_ok(arguments)); }

// Runs what must fail with `status` and one line that holds `part`.
inline void expect_failure(int status, const std::string& part, const cli::Arguments& arguments) {
  const Outcome outcome = fvd(arguments);
  EXPECT_EQ(outcome.status, status) << outcome.out << outcome.err;
  EXPECT_TRUE(outcome.err.starts_with("fvd")) << outcome.err;
  EXPECT_NE(outcome.err.find(part), std::string::npos) << "no \"" << part << "\" in: " << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_TRUE(outcome.err.ends_with('\n')) << outcome.err;
  EXPECT_EQ(outcome.out, "");
}

// A directory with an image of 64 MiB in it.
class CliImage : public ::testing::Test {
 protected:
  void SetUp() override { fvd_ok({"create", image, "64M"}); }

  TemporaryDirectory directory;
  const std::string image = directory.file("disk.fvd");
};

}  // namespace fvd::test

#endif  // FVD_TESTS_CLI_CLI_RIG_H_
