// What tests of original images (version 1) in files have in common.
#ifndef FVD_TESTS_SUPPORT_V1_FIXTURE_H_
#define FVD_TESTS_SUPPORT_V1_FIXTURE_H_

#include <gtest/gtest.h>

#include <string>

#include "io/posix_file.h"
#include "support/image_rig.h"
#include "support/v1_writer.h"

namespace fvd::test {

// A directory for an image, its base and its data file.
class V1Test : public ::testing::Test {
 protected:
  void expect_sound() {
    auto file = PosixFile::open(path_, {.read_only = true});
    ASSERT_OK(file);
    EXPECT_EQ(check_findings(**file), "");
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_.file("disk.fvd");
};

// The same for images of all geometries: TEST_P(..., ...) with for_each_state(), and FVD_INSTANTIATE_V1_CASES(Suite).
class V1CaseTest : public V1Test, public ::testing::WithParamInterface<V1Case> {
 protected:
  // Calls test(writer, clean) with the image saved: new and written to, closed in order and killed.
  void for_each_state(const auto& test) {
    const V1Options& options = GetParam().options;
    V1Writer writer(options);
    for (const bool written : {false, true}) {
      if (written) write_some(writer);
      for (const bool clean : {true, false}) {
        SCOPED_TRACE(std::string(written ? "written, " : "new, ") + (clean ? "closed" : "killed"));
        // Without a journal a killed driver leaves nobody knows what.
        if (!clean && options.journal_size == 0) continue;
        writer.save(path_, clean);
        test(writer, clean);
        if (HasFatalFailure()) return;
      }
    }
  }
};

#define FVD_INSTANTIATE_V1_CASES(suite)                                        \
  INSTANTIATE_TEST_SUITE_P(Geometries, suite, ::testing::ValuesIn(v1_cases()), \
                           [](const auto& one) { return one.param.name; })

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_V1_FIXTURE_H_
