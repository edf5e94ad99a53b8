// Images with more snapshots than a test has time to take.
#ifndef FVD_TESTS_SUPPORT_MANY_SNAPSHOTS_H_
#define FVD_TESTS_SUPPORT_MANY_SNAPSHOTS_H_

#include <cstdint>
#include <string>

#include "fvd/image.h"

namespace fvd::test {

// Gives a new image that was never written to `count` snapshots of its empty disk, named s1, s2, ..., each the parent
// of the next and the last that of current-state, by writing a directory of them. The image is closed.
Status add_empty_snapshots(const std::string& path, std::uint32_t count);

}  // namespace fvd::test

#endif  // FVD_TESTS_SUPPORT_MANY_SNAPSHOTS_H_
