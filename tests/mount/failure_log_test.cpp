// Which failing requests get a line in the log.
#include "fuse/failure_log.h"

#include <gtest/gtest.h>

namespace fvdfs {
namespace {

using std::chrono::seconds;

const FailureLog::Clock::time_point kStart{seconds(1000)};

TEST(FailureLog, OneLineWhenItBeginsOneAMinuteAndOneWhenItEnds) {
  FailureLog log;
  EXPECT_FALSE(log.is_open());
  EXPECT_EQ(log.worked(kStart), std::nullopt);
  EXPECT_EQ(log.failed("write: full", kStart), "write: full");
  EXPECT_TRUE(log.is_open());
  for (int i = 1; i < 60; ++i) EXPECT_EQ(log.failed("write: full", kStart + seconds(i)), std::nullopt) << i;
  EXPECT_EQ(log.failed("write: full", kStart + seconds(60)),
            "write: full (60 failed requests since the last such line)");
  EXPECT_EQ(log.failed("write: full", kStart + seconds(61)), std::nullopt);
  // Overwriting goes on while the host is full.
  EXPECT_EQ(log.worked(kStart + seconds(62)), std::nullopt);
  EXPECT_EQ(log.failed("write: full", kStart + seconds(65)), std::nullopt);
  EXPECT_EQ(log.worked(kStart + seconds(74)), std::nullopt);
  EXPECT_EQ(log.worked(kStart + seconds(75)), "requests work again, after 63 that failed");
  EXPECT_FALSE(log.is_open());
  EXPECT_EQ(log.worked(kStart + seconds(200)), std::nullopt);
  EXPECT_EQ(log.failed("write: full", kStart + seconds(300)), "write: full");
}

TEST(FailureLog, WhatComesAndGoesFastIsNoFlood) {
  FailureLog log;
  int lines = 0;
  for (int i = 0; i < 600; ++i) {
    if (i % 15 == 0) lines += log.failed("write: full", kStart + seconds(i)) ? 1 : 0;
    if (log.is_open()) lines += log.worked(kStart + seconds(i)) ? 1 : 0;
  }
  EXPECT_LE(lines, 2 * 10);
}

}  // namespace
}  // namespace fvdfs
