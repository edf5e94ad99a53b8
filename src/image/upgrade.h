// Makes an original image (version 1) one of version 2, in place: data stays where it is (but for one chunk, where
// there is no room before it), metadata is written beside that of version 1, and the write of page 0 changes from the
// one to the other. Power may go at any moment: docs/crash-safety.md, "Upgrade".
#ifndef FVD_IMAGE_UPGRADE_H_
#define FVD_IMAGE_UPGRADE_H_

#include "format/v1_upgrade.h"
#include "fvd/status.h"
#include "io/file.h"

namespace fvd {

// What `file` is, from its first two pages.
Result<format::Identity> identify(File& file);

// Writes page 0 of an image whose upgrade was cut during that write. Durable when it returns.
Status finish_upgrade(File& file, const format::Header& header);

// REQUIRES an image of version 1 that nobody else uses. kUnsupported when it cannot be done in place. On failure the
// image is what it was, with the same content; when kOk is returned it is durably of version 2.
Status upgrade_to_version_2(File& file);

}  // namespace fvd

#endif  // FVD_IMAGE_UPGRADE_H_
