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
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
"$example"
# On a terminal too each command stands before what it prints, its progress included. A slow sed shows whether it does.
mkdir "$work/bin"
printf '#!/bin/sh\nsleep 0.2\nexec %s "$@"\n' "$(command -v sed)" >"$work/bin/sed"
chmod 755 "$work/bin/sed"
PATH=$work/bin:$PATH script -qec "'$example' --no-loop" "$work/said" </dev/null
! grep '\$ fvd' "$work/said" | grep -v '^  \$ fvd' || { echo "quickstart: output before its command" && exit 1; }
rm -r "$work/bin" "$work/said"

# Whenever it is ended, also while it cleans up, it leaves nothing.
for line in 'Four snapshots' 'All as it should be'; do
  TMPDIR=$work setsid "$example" --no-loop >"$work/said" 2>&1 &
  for ((i = 0; i < 1000; i++)); do ! grep -q "$line" "$work/said" || break && sleep 0.02; done
  ((i < 1000)) || { echo "quickstart: not as far as '$line': $(<"$work/said")" && exit 1; }
  kill -TERM -- -$! 2>/dev/null || true
  wait $! || true
  rm "$work/said"
  [[ -z "$(ls -A "$work")" ]] || { echo "quickstart: ended at '$line' it left $(ls -A "$work")" && exit 1; }
done
