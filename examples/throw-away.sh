#!/usr/bin/env bash
# Runs a program on a disk and gives up what it did: examples/throw-away.sh MOUNTPOINT SNAPSHOT COMMAND...
#
# current-state goes to SNAPSHOT, COMMAND runs (a virtual machine, an installation, a test) with its disk in the variable
# DISK, and however it ends, current-state is afterwards what it was before. For example, a machine for one lesson:
#   throw-away.sh /srv/vm/class golden sh -c 'qemu-system-x86_64 -drive file=$DISK,format=raw,cache=none ...'
set -euo pipefail
(($# >= 3)) || { echo "usage: throw-away.sh MOUNTPOINT SNAPSHOT COMMAND..." >&2 && exit 2; }
mountpoint=$1 name=$2
shift 2
[[ -d "$mountpoint/snapshots/$name" ]] ||
  { echo "throw-away: no snapshot $name in $mountpoint/snapshots" >&2 && exit 1; }
# shellcheck source=examples/saved-state.sh
. "$(dirname "$0")/saved-state.sh"

save_state "$mountpoint" before-throw-away
go_to "$name"
"$@"
