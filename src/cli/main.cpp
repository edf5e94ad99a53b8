#include <iostream>

#include "cli/cli.h"
#include "io/standard_descriptors.h"

int main(int argc, char** argv) {
  if (!fvd::occupy_standard_descriptors()) return fvd::cli::kFailure;
  return fvd::cli::run(fvd::cli::Arguments(argv + 1, argv + argc), {std::cin, std::cout, std::cerr});
}
