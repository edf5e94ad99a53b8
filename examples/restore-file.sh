#!/usr/bin/env bash
# Brings one file or directory back from a snapshot: examples/restore-file.sh MOUNTPOINT SNAPSHOT PATH TARGET [PARTITION]
#
# Mounts the file system in the snapshot's disk read-only (that of partition PARTITION, or without one that on the whole
# disk) and copies PATH out of it to TARGET. The virtual machine may be running: nothing of its disk is touched. Needs
# root for the loop device, so a mount that lets root in (of root's own, or with allow_root or allow_other); guestmount(1)
# does the same without.
set -euo pipefail
(($# == 4 || $# == 5)) || { echo "usage: restore-file.sh MOUNTPOINT SNAPSHOT PATH TARGET [PARTITION]" >&2 && exit 2; }
disk=$1/snapshots/$2/disk.raw path=$3 target=$4 partition=${5-}
((EUID == 0)) || { echo "restore-file: a loop device needs root; guestmount does without" >&2 && exit 1; }
[[ -e "$disk" ]] ||
  { echo "restore-file: no snapshot $2 at $1, or root may not see it: that takes -o allow_root or allow_other" >&2 && exit 1; }

device='' directory=$(realpath "$(mktemp -d)")
clean_up() {
  ! mountpoint -q "$directory" || umount "$directory"
  [[ -z "$device" ]] || losetup -d "$device"
  rmdir "$directory"
}
trap clean_up EXIT
trap 'exit 143' TERM INT HUP

offset=0 size=0 # bytes; size 0: to the end
if [[ -n "$partition" ]]; then
  read -r offset size < <(partx --show --noheadings --output START,SECTORS --nr "$partition" "$disk")
  offset=$((offset * 512)) size=$((size * 512))
fi
device=$(losetup --find --show --read-only --offset "$offset" --sizelimit "$size" "$disk")
# A snapshot of a running machine has a journal to replay, which a read-only device does not let happen.
case "$(blkid -p -s TYPE -o value "$device")" in
  ext3 | ext4) options=ro,noload ;;
  xfs) options=ro,norecovery,nouuid ;;
  btrfs) options=ro,rescue=nologreplay ;;
  *) options=ro ;;
esac
mount -o "$options" "$device" "$directory"
# A symbolic link on the way to it may be absolute, and would lead to a file of this machine.
within=$(realpath -e -- "$directory/$(dirname -- "/$path")")
[[ "$within/" == "$directory"/* ]] ||
  { echo "restore-file: a symbolic link in $path leads out of the disk, to $within; name the file by its real place" >&2 && exit 1; }
cp -a "$directory/$path" "$target"
