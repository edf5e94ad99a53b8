// EIO and short writes at every I/O of every operation: the caller hears of it, metadata is never half-changed, a
// failed sync turns the image read-only, and opening it again recovers.
#include <gtest/gtest.h>

#include <array>
#include <iostream>

#include "crash/scenarios.h"

namespace fvd::test {
namespace {

struct FaultKind {
  const char* name;
  Fault fault;
};

constexpr std::array<FaultKind, 5> kFaults{{
    {"ErrorOnce", {.kind = Fault::Kind::kError}},
    {"ErrorForEver", {.kind = Fault::Kind::kError, .forever = true}},
    {"ShortWrite", {.kind = Fault::Kind::kShortWrite}},
    {"ReadErrorOnce", {.kind = Fault::Kind::kError, .reads = true}},
    {"NoSpaceForEver", {.kind = Fault::Kind::kNoSpace, .forever = true}},
}};

class FaultAt : public ::testing::TestWithParam<std::tuple<std::size_t, std::size_t>> {};

TEST_P(FaultAt, EveryOperation) {
  const Scenario& scenario = scenarios()[std::get<0>(GetParam())];
  std::uint64_t faults = 0;
  for (std::uint64_t fail_at = 1;; fail_at += stride()) {
    Fault fault = kFaults[std::get<1>(GetParam())].fault;
    fault.at = fail_at;
    SCOPED_TRACE(std::string(kFaults[std::get<1>(GetParam())].name) + " at I/O " + std::to_string(fail_at));
    ASSERT_LT(fail_at, 5000U) << "the operation never ends";
    TrackedImage image(start_of(scenario));
    ASSERT_NE(image.image(), nullptr);
    image.disk().arm(fault);
    ASSERT_EQ(scenario.act(image), "");
    if (fault.kind == Fault::Kind::kShortWrite && fail_at > image.disk().operations()) break;
    const bool hit = image.disk().fault_hit();
    if (!hit && fault.kind != Fault::Kind::kShortWrite) break;
    ++faults;
    const DiskOperation operation = image.disk().hit_operation();
    image.disk().disarm();

    if (image.image() != nullptr) {
      ASSERT_EQ(image.compare(), "");
      if (hit && operation == DiskOperation::kSync) {
        EXPECT_TRUE(image.image()->read_only()) << "a failed sync must not be taken for a mere delay";
      }
      if (image.image()->read_only()) {
        EXPECT_NE(image.image()->info().error, "");
        EXPECT_CODE(Code::kReadOnly, image.image()->write(0, pattern(512, 1)));
        EXPECT_CODE(Code::kReadOnly, image.image()->snapshot_create("refused"));
        EXPECT_CODE(Code::kReadOnly, image.image()->snapshot_delete("s3"));
      } else {
        // Nothing was harmed: the same image goes on as if nothing had been.
        ASSERT_EQ(image.write(kSmallChunk, pattern(5000, 2)), "");
        ASSERT_EQ(image.create("later"), "");
        ASSERT_EQ(image.compare(), "");
      }
    }
    // A power cut on top of it, and then the same process's view of the disk.
    TrackedImage* const one = &image;
    ASSERT_EQ(one->power_cut(std::array<std::uint64_t, 3>{fail_at + 10, 0, 1}), "");
    ASSERT_EQ(one->compare(), "");
    ASSERT_EQ(one->create("afterwards"), "");
    ASSERT_EQ(one->killed(), "");
  }
  std::cout << "[   faults ] " << faults << '\n';
}

INSTANTIATE_TEST_SUITE_P(Operations, FaultAt,
                         ::testing::Combine(::testing::Range<std::size_t>(0, scenarios().size()),
                                            ::testing::Range<std::size_t>(0, kFaults.size())),
                         [](const auto& one) {
                           return scenarios()[std::get<0>(one.param)].name + kFaults[std::get<1>(one.param)].name;
                         });

}  // namespace
}  // namespace fvd::test
