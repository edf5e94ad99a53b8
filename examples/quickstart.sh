#!/usr/bin/env bash
# The story that fvdfs is for, on a real ext4: four snapshots, back to the second, a fifth, forward to the fourth.
#
#   examples/quickstart.sh [--no-loop]
#
# Installs what is missing (Debian; as root) and builds into build/ first, unless FVDFS_BINARY and FVD_BINARY name the
# two programs. Mounting the ext4 takes a loop device, which only root may set up. An ordinary user, or --no-loop, gets
# the same story with mke2fs and debugfs, which read and write an ext4 in a file without mounting it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

loop=yes
case "${1-}" in
  '') ;;
  --no-loop) loop=no ;;
  *)
    echo "usage: examples/quickstart.sh [--no-loop]" >&2
    exit 2
    ;;
esac

if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { # Shows a command, with short names for the places.
  local shown="$*"
  shown=${shown//$mountpoint/disk}
  shown=${shown//$work\//}
  shown=${shown//$FVDFS_BINARY/fvdfs}
  shown=${shown//$FVD_BINARY/fvd}
  printf '  $ %s\n' "$shown"
}
run() {
  show "$@"
  "$@"
}
fvd() { # Not through run: a terminal would get the progress, which is not piped, before the command.
  show "$FVD_BINARY" "$@"
  "$FVD_BINARY" "$@" | sed "s|$work/||g"
}
die() {
  printf 'quickstart: %s\n' "$*" >&2
  exit 1
}

built=no
if [[ -z "${FVDFS_BINARY-}" || -z "${FVD_BINARY-}" ]]; then
  . tests/support/packages.sh
  . tests/support/build.sh
  need_packages "${build_packages[@]}" fuse3 attr e2fsprogs util-linux mount
  built=yes
  say "Building (into build/; a few minutes)"
  configure build "${optimised[@]}" --log-level=WARNING
  build build fvdfs fvd_tool
  FVDFS_BINARY=$PWD/build/fvdfs FVD_BINARY=$PWD/build/fvd
fi
for tool in mke2fs debugfs e2fsck; do # They are in sbin, which an ordinary user's PATH may lack.
  command -v "$tool" >/dev/null || PATH=$PATH:/usr/sbin:/sbin
done
[[ -r /dev/fuse && -w /dev/fuse ]] || die "/dev/fuse cannot be opened: load the kernel module fuse, or allow it in the container"

work=$(mktemp -d "${TMPDIR:-/tmp}/fvdfs-quickstart.XXXXXX")
image=$work/disk.fvd mountpoint=$work/disk pidfile=$work/fvdfs.pid ext4=$work/ext4 now=$work/now daemon=''
mkdir "$mountpoint" "$ext4" "$now" "$work/expected"
devices=() frozen=no

unmount_image() {
  local tries
  if [[ -n "$daemon" ]]; then
    for ((tries = 0; tries < 50; tries++)); do
      timeout 20 fusermount3 -u "$mountpoint" 2>/dev/null && break
      sleep 0.1
    done
    # The daemon may still be closing the image when fusermount3 returns; the pid file goes once it is closed.
    for ((tries = 0; tries < 300; tries++)); do
      [[ -e "$pidfile" ]] && kill -0 "$daemon" 2>/dev/null || break
      sleep 0.1
    done
    [[ -e "$pidfile" ]] || daemon=''
  fi
}

clean_up() {
  local status=$? device
  trap - EXIT
  trap '' HUP INT TERM
  set +e
  [[ "$frozen" == no ]] || fsfreeze -u "$ext4"
  mountpoint -q "$ext4" && umount "$ext4"
  for device in "${devices[@]}"; do losetup -d "$device" 2>/dev/null; done
  unmount_image
  if [[ -n "$daemon" && -e "$pidfile" ]] && kill -0 "$daemon" 2>/dev/null; then
    kill -KILL "$daemon"
    fusermount3 -u -z "$mountpoint" 2>/dev/null
  fi
  rm -rf --one-file-system "$work"
  ((status == 0)) || echo "quickstart: failed (status $status); everything was cleaned up" >&2
  exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# --- The ext4, through a loop device or through debugfs ---------------------------------------------------------------

attach() { # attach FILE [LOSETUP-OPTION]...: sets $device.
  local file=$1
  shift
  device=$(losetup --find --show "$@" "$file")
  devices+=("$device")
}

detach() { # Ends the last loop device. The kernel lets go of the file a moment later.
  local tries
  losetup -d "$device"
  for ((tries = 0; tries < 100; tries++)); do
    losetup "$device" >/dev/null 2>&1 || break
    sleep 0.05
  done
  unset 'devices[-1]'
}

disk_open() {
  [[ "$loop" == yes ]] || return 0
  show losetup --find --show "$mountpoint/current-state"
  attach "$mountpoint/current-state"
  run mount "$device" "$ext4"
}

disk_close() {
  [[ "$loop" == yes ]] || return 0
  run umount "$ext4"
  detach
}

# e2fs FILE COMMAND...: debugfs tells failure on standard error only.
e2fs() {
  local file=$1 errors
  shift
  errors=$(printf '%s\n' "$@" | debugfs -w -f - "$file" 2>&1 >/dev/null | grep -v '^debugfs [0-9]' || true)
  [[ -z "$errors" ]] || die "debugfs: $errors"
}

put() { # put NAME KIB: a new or rewritten file of random bytes, in the ext4 and in $now, which tells what it must hold.
  local replaced=no
  [[ ! -e "$now/$1" ]] || replaced=yes
  head -c "$(($2 * 1024))" /dev/urandom >"$now/$1"
  echo "  writes $1 ($2 KiB)"
  if [[ "$loop" == yes ]]; then
    cp "$now/$1" "$ext4/$1"
  elif [[ "$replaced" == yes ]]; then
    e2fs "$mountpoint/current-state" "rm $1" "write $now/$1 $1"
  else
    e2fs "$mountpoint/current-state" "write $now/$1 $1"
  fi
}

drop() {
  echo "  deletes $1"
  rm "$now/$1"
  if [[ "$loop" == yes ]]; then rm "$ext4/$1"; else e2fs "$mountpoint/current-state" "rm $1"; fi
}

sums() { (cd "$1" && find . -path ./lost+found -prune -o -type f -print0 | sort -z | xargs -0r sha256sum); }

# A snapshot may be taken of a disk in full use, and is then what a disk is after a power cut: an ext4 whose journal has
# to be replayed, which a read-only mount of it would have to do in memory. Frozen, the ext4 is clean on the disk, so
# that fsck needs no replay. Freezing stops writes to the ext4 only, not those from the loop device to current-state,
# so mkdir has nothing to wait for.
take() {
  if [[ "$loop" == yes ]]; then
    frozen=yes
    fsfreeze -f "$ext4"
  fi
  run mkdir "$mountpoint/snapshots/$1"
  if [[ "$loop" == yes ]]; then
    fsfreeze -u "$ext4"
    frozen=no
  fi
  cp -a "$now" "$work/expected/$1"
}

go_to() {
  run mv "$mountpoint/snapshots/$1" "$mountpoint/snapshots/current-state"
  rm -r "$now"
  cp -a "$work/expected/$1" "$now"
}

verify() { # verify NAME DISK: the ext4 in DISK is clean and holds exactly the files of $work/expected/NAME.
  local name=$1 disk=$2 device got
  e2fsck -fn "$disk" >"$work/fsck" 2>&1 || {
    cat "$work/fsck" >&2
    die "fsck finds faults in $name"
  }
  if [[ "$loop" == yes ]]; then
    attach "$disk" --read-only
    mount -o ro "$device" "$ext4"
    got=$(sums "$ext4")
    umount "$ext4"
    detach
  else
    rm -rf "$work/dump"
    mkdir "$work/dump"
    debugfs -R "rdump / $work/dump" "$disk" >/dev/null 2>&1
    got=$(sums "$work/dump")
  fi
  diff <(sums "$work/expected/$name") - <<<"$got" >&2 || die "$name does not hold the files of its moment"
  echo "  $name: fsck clean, its files as recorded: $(sed 's|.*\./||' <<<"$got" | paste -s -d ' ')"
}

# --- The story --------------------------------------------------------------------------------------------------------

if [[ "$loop" == yes ]] && ((EUID != 0)); then
  loop=no
  say "Loop devices need root. Without, the ext4 is written with mke2fs and debugfs instead of being mounted."
elif [[ "$loop" == yes ]] && ! losetup --find >/dev/null 2>&1; then
  loop=no
  say "No loop device is to be had here. The ext4 is written with mke2fs and debugfs instead of being mounted."
fi

say "An image with a disk of 256 MiB, mounted"
fvd create "$image" 256M
run "$FVDFS_BINARY" --pidfile "$pidfile" "$image" "$mountpoint"
daemon=$(<"$pidfile")

say "An ext4 on current-state"
run mke2fs -q -F -t ext4 "$mountpoint/current-state"
disk_open

say "Four snapshots, with other files in each"
put one 300
take s1
put two 2000
put diary 40
take s2
put three 500
put diary 60
take s3
put four 1200
drop one
put diary 80
take s4
put lost 100 # given up by going to s2
disk_close

say "Back to s2"
go_to s2
verify s2 "$mountpoint/current-state"
disk_open
put five 700
put diary 20
say "A fifth snapshot, of the new branch"
take s5
disk_close

say "Forward to s4"
go_to s4
verify s4 "$mountpoint/current-state"

say "The tree"
sed 's/^/  /' "$mountpoint/.fvd/tree"
tree=$(head -n 1 "$mountpoint/.fvd/tree")
[[ "$tree" == 's1->s2->{s3->s4->(current-state), s5}' ]] || die "the tree is $tree"

say "Every snapshot, read-only"
for name in s1 s2 s3 s4 s5; do verify "$name" "$mountpoint/snapshots/$name/disk.raw"; done

say "Unmount and check the image"
unmount_image
fvd check "$image"
say "All as it should be."
if [[ "$built" == yes ]]; then
  echo "The programs are build/fvdfs and build/fvd. To install them, and to run a virtual machine: docs/usage.md"
fi
