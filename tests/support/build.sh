# Shell functions that configure, build and test one tree. Source it from the top of the project; it runs nothing by
# itself.

# configure_and_build DIR [CMAKE-ARGUMENT]...: with ninja and ccache where they are.
configure_and_build() {
  local directory=$1 arguments=()
  shift
  # A directory that was configured before keeps its generator.
  if [[ ! -e "$directory/CMakeCache.txt" ]] && command -v ninja >/dev/null; then arguments+=(-G Ninja); fi
  if command -v ccache >/dev/null; then arguments+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  cmake -S . -B "$directory" "${arguments[@]}" "$@"
  cmake --build "$directory" --parallel "$(nproc)"
}

# run_tests DIR [CTEST-ARGUMENT]...: two at a time, with the output of those that fail; ends with ctest's summary and
# status.
run_tests() {
  local directory=$1
  shift
  ctest --test-dir "$directory" --output-on-failure --no-tests=error --parallel 2 "$@"
}
