#include "check/check.h"

#include "check/checker.h"

namespace fvd {

Result<CheckReport> check_image(File& file) { return Checker(file).run(); }

}  // namespace fvd
