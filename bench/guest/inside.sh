#!/usr/bin/env bash
# bench/guest/inside.sh [ARGUMENT]...: in the guest, divides the second disk into halves for ext4 and for ZFS's pool and runs
# bench/zfs.py; its JSON goes to the host through a port. The guest is thrown away afterwards.
set -euo pipefail
export FVD_BUILD_DIR=/job/build PYTHONUNBUFFERED=1
disk=/dev/vdb
bytes=$(blockdev --getsize64 "$disk")
half=$((bytes / 2 / 1048576 - 2))
printf 'label: gpt\nsize=%dMiB\nsize=%dMiB\n' "$half" "$half" | sfdisk -q "$disk"
udevadm settle
mkfs.ext4 -q -N 16384 -E lazy_itable_init=0,lazy_journal_init=0,nodiscard "${disk}1"
mkdir -p /data
mount "${disk}1" /data
modprobe fuse
modprobe zfs
echo "the guest is ready: $(uname -r), ZFS $(modinfo -F version zfs)"
# Half of the memory, which is also its default; the others have the page cache for theirs.
kibibytes=$(awk '/MemTotal/ { print $2 }' /proc/meminfo)
echo $((kibibytes * 1024 / 2)) >/sys/module/zfs/parameters/zfs_arc_max
if python3 "$(dirname "$0")/../zfs.py" --dir /data --device "${disk}2" --json /tmp/zfs.json "$@"; then
  cat /tmp/zfs.json >/dev/virtio-ports/results
else
  echo "zfs.py ended with status $?"
fi
