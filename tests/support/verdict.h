// How models report what an image did that it must not.
#ifndef FVD_TESTS_SUPPORT_VERDICT_H_
#define FVD_TESTS_SUPPORT_VERDICT_H_

#include <string>

namespace fvd::test {

using Verdict = std::string;  // "" = as promised

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_VERDICT_H_
