// libfuse's low-level interface at the one version that fvdfs is written against.
#ifndef FVDFS_LOWLEVEL_H_
#define FVDFS_LOWLEVEL_H_

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>  // IWYU pragma: export

#endif  // FVDFS_LOWLEVEL_H_
