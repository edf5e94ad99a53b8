// A program that is started with standard input, output or error closed gets those numbers for what it opens next.
// What it then prints would go into that file: into an image.
#ifndef FVD_IO_STANDARD_DESCRIPTORS_H_
#define FVD_IO_STANDARD_DESCRIPTORS_H_

namespace fvd {

// Takes up those of the descriptors 0, 1 and 2 that are closed, such that reading and writing them goes on to fail.
// False, with errno, where that is not possible; no file should be opened then. To be called first in main().
[[nodiscard]] bool occupy_standard_descriptors();

}  // namespace fvd

#endif  // FVD_IO_STANDARD_DESCRIPTORS_H_
