# For throw-away.sh and bisect.sh: what current-state holds is saved in a snapshot and comes back when the script ends.
# shellcheck shell=bash

# save_state MOUNTPOINT PREFIX; sets snapshots and DISK.
save_state() {
  snapshots=$(cd "$1" && pwd)/snapshots saved=$2-$$
  export DISK=${snapshots%/*}/current-state
  mkdir "$snapshots/$saved"
  trap restore_state EXIT
  trap 'exit 143' TERM INT HUP
}

restore_state() {
  local status=$?
  if go_to "$saved"; then
    rmdir "$snapshots/$saved" || status=1
  else
    echo "what current-state held is in the snapshot $saved; when nobody writes to the disk any more:" \
      "mv $(printf '%q ' "$snapshots/$saved" "$snapshots/current-state")" >&2
    ((status)) || status=1
  fi
  exit "$status"
}

go_to() { # A program that has just ended may still be letting go of the disk.
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    mv "$snapshots/$1" "$snapshots/current-state" 2>/dev/null && return 0
    sleep 0.1
  done
  mv "$snapshots/$1" "$snapshots/current-state"
}
