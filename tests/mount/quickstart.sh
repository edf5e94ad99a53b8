#!/usr/bin/env bash
# The example works, with loop devices (as root, where there are any) and without.
# ctest: TIMEOUT 120
set -euo pipefail
example=$(dirname "${BASH_SOURCE[0]}")/../../examples/quickstart.sh
for name in FVDFS_BINARY FVD_BINARY; do
  [[ -x "${!name-}" ]] || {
    echo "skipped: $name does not name a program"
    exit 77
  }
done
for need in /dev/fuse "$(command -v fusermount3)"; do
  [[ -e "$need" ]] || {
    echo "skipped: no /dev/fuse or no fusermount3"
    exit 77
  }
done
"$example"
"$example" --no-loop
