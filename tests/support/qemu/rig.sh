# shellcheck shell=bash
# A mounted image for the scripts that test with QEMU. Source it after `set -euo pipefail`; it checks that the programs
# are there, makes $work and ends whatever it started when the script ends, also by failure.

skip() {
  echo "skipped: $*"
  exit 77
}

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

need() { # need PROGRAM...
  local name
  for name in "$@"; do command -v "$name" >/dev/null || skip "no $name"; done
}

# qemu-io sets the terminal that it reads from, if any, and is stopped for it where timeout runs it in the background.
exec </dev/null
PATH=$PATH:/usr/sbin:/sbin # mke2fs and e2fsck, for an ordinary user
for name in FVDFS_BINARY FVD_BINARY; do [[ -x "${!name-}" ]] || skip "$name does not name a program"; done
[[ -r /dev/fuse && -w /dev/fuse ]] || skip "/dev/fuse cannot be opened"
need fusermount3 qemu-img

work=$(mktemp -d "${TMPDIR:-/tmp}/fvdfs-qemu.XXXXXX")
image=$work/disk.fvd mountpoint=$work/disk pidfile=$work/fvdfs.pid daemon='' guest=''
current=$mountpoint/current-state snapshots=$mountpoint/snapshots
mkdir "$mountpoint"

mount_image() { # mount_image SIZE: a new image of that size.
  "$FVD_BINARY" create "$image" "$1" >/dev/null
  "$FVDFS_BINARY" --pidfile "$pidfile" --log-file "$work/fvdfs.log" --log-level info "$image" "$mountpoint"
  daemon=$(<"$pidfile")
}

unmount_image() {
  local tries
  [[ -n "$daemon" ]] || return 0
  for ((tries = 0; tries < 100; tries++)); do
    timeout 20 fusermount3 -u "$mountpoint" 2>/dev/null && break
    sleep 0.1
  done
  # The daemon may still be closing the image; its pid file goes once it is closed.
  for ((tries = 0; tries < 600; tries++)); do
    [[ -e "$pidfile" ]] && kill -0 "$daemon" 2>/dev/null || {
      daemon=''
      return 0
    }
    sleep 0.1
  done
  return 1
}

# check_image: unmounts, and every structure must be consistent.
check_image() {
  unmount_image || fail "the daemon does not end"
  "$FVD_BINARY" check "$image" || fail "fvd check: status $?"
}

# go_to NAME: a program that has just ended may still be letting go of current-state, which is EBUSY.
go_to() {
  local tries
  for ((tries = 0; tries < 50; tries++)); do
    timeout 60 mv "$snapshots/$1" "$snapshots/current-state" 2>"$work/mv" && return 0
    sleep 0.1
  done
  fail "goto $1: $(<"$work/mv")"
}

metric() { # metric NAME[{LABELS}]: its value.
  awk -v name="$1" '$1 == name { print $2 }' "$mountpoint/.fvd/metrics"
}

clean_up() {
  local status=$?
  trap - EXIT
  set +e
  if [[ -n "$guest" ]] && kill -0 "$guest" 2>/dev/null; then
    kill "$guest"
    wait "$guest"
  fi
  if ! unmount_image; then
    kill -KILL "$daemon"
    fusermount3 -u -z "$mountpoint" 2>/dev/null
  fi
  if ((status != 0 && status != 77)); then
    [[ ! -s "$work/fvdfs.log" ]] || sed 's/^/fvdfs: /' "$work/fvdfs.log" >&2
  fi
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
