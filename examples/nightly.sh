#!/usr/bin/env bash
# A snapshot every night, the last 14 kept: examples/nightly.sh MOUNTPOINT [KEEP]
#
# For cron or a systemd timer; the virtual machine goes on running. A snapshot that must outlive its time is held:
#   setfattr -n user.fvd.hold -v 1 MOUNTPOINT/snapshots/NAME
# Deleting a snapshot changes no other: what newer ones need of it stays.
set -euo pipefail
(($# == 1 || $# == 2)) || { echo "usage: nightly.sh MOUNTPOINT [KEEP]" >&2 && exit 2; }
snapshots=$1/snapshots keep=${2-14}
[[ -d "$snapshots" ]] || { echo "nightly: no image is mounted at $1" >&2 && exit 1; }
[[ "$keep" =~ ^[1-9][0-9]*$ ]] || { echo "nightly: KEEP is a number from 1 on" >&2 && exit 2; }

mkdir "$snapshots/nightly-$(date --utc +%Y-%m-%dT%H:%M:%SZ)"

# The names sort by time. Only after the new one is safe do the old ones go.
shopt -s nullglob
mine=("$snapshots"/nightly-????-??-??T??:??:??Z)
status=0
for ((i = 0; i < ${#mine[@]} - keep; i++)); do
  # One that is held, or open at this moment, stays until a later night.
  [[ "$(getfattr --only-values -n user.fvd.hold "${mine[i]}" 2>/dev/null)" != 1 ]] || continue
  rmdir "${mine[i]}" || status=1
done
exit $status
