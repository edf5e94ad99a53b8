#!/usr/bin/env bash
# Finds the snapshot in which something broke: examples/bisect.sh MOUNTPOINT GOOD BAD COMMAND...
#
# BAD descends from GOOD. Of the snapshots between them, those that halve the distance are tried: current-state goes to
# one, and COMMAND runs with its disk in the variable DISK; exit status 0 says that it is good. COMMAND may boot a machine
# on it and may write to it. What current-state held before is back in the end. The last line names the first bad one.
set -euo pipefail
(($# >= 4)) || { echo "usage: bisect.sh MOUNTPOINT GOOD BAD COMMAND..." >&2 && exit 2; }
mountpoint=$1 snapshots=$1/snapshots good=$2 bad=$3
shift 3
for name in "$good" "$bad"; do
  [[ -d "$snapshots/$name" ]] || { echo "bisect: no snapshot $name in $snapshots" >&2 && exit 1; }
done
# shellcheck source=examples/saved-state.sh
. "$(dirname "$0")/saved-state.sh"

path=("$bad") # from BAD up to GOOD
while [[ "${path[-1]}" != "$good" ]]; do
  parent=$(readlink "$snapshots/${path[-1]}/parent") ||
    { echo "bisect: $bad does not descend from $good" >&2 && exit 1; }
  path+=("${parent##*/}")
done

save_state "$mountpoint" before-bisect
first=0 last=$((${#path[@]} - 1)) # path[first] is bad, path[last] is good
while ((last - first > 1)); do
  middle=$(((first + last) / 2))
  go_to "${path[middle]}"
  if "$@"; then last=$middle verdict=good; else first=$middle verdict=bad; fi
  echo "${path[middle]} is $verdict"
done
echo "${path[first]} is the first bad one"
