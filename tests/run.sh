#!/usr/bin/env bash
# Installs what is missing (Debian; as root), builds, and runs the whole suite: tests/run.sh [CTEST-ARGUMENT]...
# FVD_BUILD_DIR names the build directory (default: build). An ordinary user is told what to install, and mount tests
# that only root can run skip themselves.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/support/packages.sh
. tests/support/build.sh

need_packages "${build_packages[@]}" "${test_packages[@]}"
# Without a kernel the tests that boot a virtual machine skip themselves, and say so.
FVD_GUEST_KERNEL=${FVD_GUEST_KERNEL:-${XDG_CACHE_HOME:-$HOME/.cache}/fvdfs/kernel}
guest_kernel "$FVD_GUEST_KERNEL" || echo "no kernel for virtual machines: the tests that boot one will be skipped" >&2
export FVD_GUEST_KERNEL

configure_and_build "${FVD_BUILD_DIR:-build}" "${optimised[@]}" -DFVD_BUILD_TESTS=ON -DFVD_BUILD_BENCH=ON
run_tests "${FVD_BUILD_DIR:-build}" "$@"
