#!/usr/bin/env bash
# Runs a program on a disk and gives up what it did: examples/throw-away.sh MOUNTPOINT SNAPSHOT COMMAND...
#
# current-state goes to SNAPSHOT, COMMAND runs (a virtual machine, an installation, a test) with its disk in the variable
# DISK, and however it ends, current-state is afterwards what it was before. For example, a machine for one lesson:
#   throw-away.sh /srv/vm/class golden sh -c 'qemu-system-x86_64 -drive file=$DISK,format=raw,cache=none ...'
set -euo pipefail
(($# >= 3)) || { echo "usage: throw-away.sh MOUNTPOINT SNAPSHOT COMMAND..." >&2 && exit 2; }
snapshots=$(cd "$1" && pwd)/snapshots name=$2 saved=before-throw-away-$$
shift 2
export DISK=${snapshots%/*}/current-state
[[ -d "$snapshots/$name" ]] || { echo "throw-away: no snapshot $name in $snapshots" >&2 && exit 1; }

go_to() { # A program that has just ended may still be letting go of the disk.
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    mv "$snapshots/$1" "$snapshots/current-state" 2>/dev/null && return 0
    sleep 0.1
  done
  mv "$snapshots/$1" "$snapshots/current-state"
}

mkdir "$snapshots/$saved"
trap 'go_to "$saved" && rmdir "$snapshots/$saved"' EXIT
trap 'exit 143' TERM INT HUP
go_to "$name"
"$@"
