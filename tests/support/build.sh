# shellcheck shell=bash disable=SC2034
# Shell functions that configure, build and test one tree. Source it from the top of the project; it runs nothing by
# itself.

# How the programs are built for use and for the main run of the tests: fast, and backtraces have lines.
optimised=(-DCMAKE_BUILD_TYPE=RelWithDebInfo "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O2 -g1")

# configure DIR [CMAKE-ARGUMENT]...: with ninja and ccache where they are.
configure() {
  local directory=$1 arguments=()
  shift
  # A directory that was configured before keeps its generator.
  if [[ ! -e "$directory/CMakeCache.txt" ]] && command -v ninja >/dev/null; then arguments+=(-G Ninja); fi
  if command -v ccache >/dev/null; then arguments+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  cmake -S . -B "$directory" "${arguments[@]}" "$@"
}

# build DIR [TARGET]...
build() {
  local directory=$1
  shift
  cmake --build "$directory" --parallel "$(nproc)" ${1+--target "$@"}
}

# configure_and_build DIR [CMAKE-ARGUMENT]...: all targets.
configure_and_build() {
  configure "$@"
  build "$1"
}

# run_tests DIR [CTEST-ARGUMENT]...: two at a time, with the output of those that fail; ends with ctest's summary and
# status.
run_tests() {
  local directory=$1
  shift
  ctest --test-dir "$directory" --output-on-failure --no-tests=error --parallel 2 "$@"
}
