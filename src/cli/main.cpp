#include <iostream>

#include "cli/cli.h"

int main(int argc, char** argv) {
  return fvd::cli::run(fvd::cli::Arguments(argv + 1, argv + argc), {std::cin, std::cout, std::cerr});
}
