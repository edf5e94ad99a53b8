// Checks an original FVD image (version 1): header, regions, journal, and that every chunk of the lookup table is there
// and named once. It has no checksums and no counts, so that little can be proved; nothing can be repaired.
#ifndef FVD_CHECK_V1_CHECK_H_
#define FVD_CHECK_V1_CHECK_H_

#include "check/check.h"

namespace fvd {

// Whether `file` begins as an image of version 1. An error Status when it cannot be read.
Result<bool> is_v1_image(File& file);
// REQUIRES is_v1_image(). As check_image(); a data file that cannot be opened is an error Status. The base image is not
// looked at, as in version 2.
Result<CheckReport> check_v1_image(File& file);

}  // namespace fvd

#endif  // FVD_CHECK_V1_CHECK_H_
