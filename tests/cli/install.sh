#!/usr/bin/env bash
# Installs this build into an empty prefix, looks for what must be there, and builds and runs the example against it as
# a stranger would.
set -euo pipefail
: "${FVD_BUILD_DIR:?the build directory}"
. "$(dirname "${BASH_SOURCE[0]}")/../support/links.sh"
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

fail() {
  echo "install: $*" >&2
  exit 1
}

cache_value() { sed -n "s/^$1:[A-Z]*=//p" "$FVD_BUILD_DIR/CMakeCache.txt"; }

cmake --install "$FVD_BUILD_DIR" --prefix "$prefix" >"$work/log" || { cat "$work/log" && fail "cmake --install"; }

for program in fvdfs fvd; do
  [[ -x "$prefix/bin/$program" ]] || fail "no bin/$program"
  "$prefix/bin/$program" --version | grep -q '^fvd' || fail "bin/$program --version"
done
[[ -f "$prefix/lib/libfvd.a" ]] || fail "no lib/libfvd.a"
[[ -f "$prefix/include/fvd/version.h" ]] || fail "no include/fvd/version.h"
for header in "$source_dir"/include/fvd/*.h; do
  cmp "$header" "$prefix/include/fvd/${header##*/}" || fail "header ${header##*/}"
done
for page in "$source_dir"/docs/man/*.1; do
  cmp "$page" "$prefix/share/man/man1/${page##*/}" || fail "man page ${page##*/}"
done
for file in share/bash-completion/completions/{fvd,fvdfs} share/zsh/site-functions/_fvd \
  share/fish/vendor_completions.d/{fvd,fvdfs}.fish lib/systemd/system/fvdfs@.service sbin/mount.fvdfs; do
  [[ -s "$prefix/$file" ]] || fail "no $file"
done
doc=$prefix/share/doc/fvdfs
[[ -s "$prefix/share/man/man5/fvd-format.5" && -s "$doc/docs/format.md" ]] || fail "no page of the format"
mapfile -t documents < <(find "$doc" -name '*.md')
dead=$(dead_links "${documents[@]}")
[[ -z "$dead" ]] || fail "dead links in the installed documents: $dead"
[[ -z "$(find "$prefix" -mindepth 1 -maxdepth 1 ! -name bin ! -name sbin ! -name lib ! -name include ! -name share)" ]] ||
  fail "more than bin, sbin, lib, include and share in the prefix"

# A library built with sanitizers needs them in the program too.
sanitize=$(cache_value FVD_SANITIZE)
cmake -S "$source_dir/examples/library" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_CXX_COMPILER="$(cache_value CMAKE_CXX_COMPILER)" -DCMAKE_CXX_FLAGS="${sanitize:+-fsanitize=$sanitize}" \
  >"$work/log" 2>&1 || { cat "$work/log" && fail "the example does not configure"; }
cmake --build "$work/build" >"$work/log" 2>&1 || { cat "$work/log" && fail "the example does not build"; }
# And without CMake, where the compiler finds the shared library first.
"$(cache_value CMAKE_CXX_COMPILER)" -std=c++20 ${sanitize:+"-fsanitize=$sanitize"} "$source_dir/examples/library/rewind.cpp" \
  -I "$prefix/include" -L "$prefix/lib" -lfvd -Wl,-rpath,"$prefix/lib" -o "$work/build/shared" ||
  fail "the example does not build with the shared library"
readelf -d "$work/build/shared" | grep -q 'NEEDED.*libfvd.so.0' || fail "libfvd.so.0 is not used"
# It offers the classes and functions of the headers, and nothing else.
offered=$(sed -nE 's/^class (\[\[nodiscard\]\] )?([A-Za-z]+)( : .*)? \{$/\2/p; s/^[A-Za-z][^(=]* \*?([a-z_]+)\(.*/\1/p' \
  "$source_dir"/include/fvd/*.h | grep -v '^Result$' | sort -u)
for name in $offered; do
  grep -q "fvd::$name\(::\)\?\*;" "$source_dir/src/libfvd.map" || fail "$name of a public header is not in libfvd.map"
done
unexpected=$(nm -DC --defined-only --format=posix "$prefix/lib/libfvd.so" |
  grep -vE "(^|for )fvd::($(paste -s -d '|' <<<"$offered"))\\b|^__(asan|ubsan|odr_asan|tsan)" || true)
[[ -z "$unexpected" ]] || fail "the shared library offers more than the headers: $unexpected"
for program in shared rewind; do
  rm -f "$work/disk.fvd"
  "$work/build/$program" "$work/disk.fvd" | tee "$work/said"
  diff "$work/said" - <<'TEXT' || fail "the example printed something else"
current-state reads: second
snapshot before reads: first
current-state after goto reads: first
TEXT
done
"$prefix/bin/fvd" check "$work/disk.fvd" || fail "the example's image is not consistent"
