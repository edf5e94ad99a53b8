#!/usr/bin/env bash
# A disk of its own from a golden snapshot, in no time: examples/clone.sh MOUNTPOINT SNAPSHOT CLONE.fvd
#
# The clone is an image that shows the snapshot through wherever it was not written, so a hundred of them cost nothing
# but what each changes. It has snapshots of its own, and needs the golden image mounted at the same place, and the
# snapshot kept: it is held from then on. To throw the clone away, unmount it and delete the file.
set -euo pipefail
(($# == 3)) || { echo "usage: clone.sh MOUNTPOINT SNAPSHOT CLONE.fvd" >&2 && exit 2; }
golden=$(cd "$1" && pwd)/snapshots/$2
[[ -e "$golden/disk.raw" ]] || { echo "clone: no snapshot $2 at $1" >&2 && exit 1; }
setfattr -n user.fvd.hold -v 1 "$golden"
"${FVD_BINARY-fvd}" create -b "$golden/disk.raw" -F raw "$3"
