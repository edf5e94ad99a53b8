#!/usr/bin/env bash
# A virtual machine runs on current-state with each cache mode. A snapshot taken while it writes holds everything that
# the guest had reported as synced before mkdir was called, nothing that it wrote after mkdir had returned, and no gap;
# and after going back, the guest boots on exactly that.
# ctest: TIMEOUT 600 LABELS mount;slow
set -euo pipefail
support=$(cd "$(dirname "${BASH_SOURCE[0]}")/../support/qemu" && pwd)
. "$support/rig.sh"
. "$support/guest.sh"
need mke2fs e2fsck

find_kernel
build_initramfs
find_accelerator
echo "virtual machines run with $accelerator"
mount_image 96M
mke2fs -q -F -t ext4 "$current" 64M
mkdir "$snapshots/empty"

# records DISK: "count wrong after" of the records in the sectors after the ext4.
records() {
  dd if="$1" bs=1M skip=64 2>/dev/null | tr -d '\000' | awk '$1 == "record" {
    if ($2 != ++n) wrong = 1; if ($3 != "before") after++ } END { print n + 0, wrong + 0, after + 0 }'
}

round() { # round NAME DRIVE-OPTIONS
  local name=$1 options=$2 synced cut whole found word count wrong after
  go_to empty
  guest_start write "$options"
  guest_expect SYNCED 20
  synced=$(guest_said SYNCED | tail -n 1 | cut -d ' ' -f 2)
  timeout 120 mkdir "$snapshots/$name"
  echo go >&9
  guest_wait
  guest_said UNMOUNTED | grep -q . || guest_failed "$name: the guest could not unmount its disk"

  cut=$(records "$snapshots/$name/disk.raw")
  whole=$(records "$current")
  echo "$name: $synced records synced before mkdir; the snapshot holds $cut, the disk $whole (count, wrong, after)"
  # Ten records came after, or the test could not see one in the wrong place.
  [[ "$whole" == *' 0 10' ]] || fail "$name: the guest's disk should hold a sequence that ends in ten records after"

  go_to "$name"
  guest_start read "$options"
  guest_wait
  guest_said UNMOUNTED | grep -q . || guest_failed "$name: the guest could not unmount its disk after going back"
  found=$(guest_said RAW)
  [[ "$found" == "RAW $cut" ]] || guest_failed "$name: the guest finds '$found' where the snapshot holds '$cut'"
  while read -r word count wrong after; do
    ((count >= synced)) || fail "$name: $word holds $count records, $synced were synced before mkdir was called"
    ((wrong == 0)) || fail "$name: $word holds records out of sequence"
    ((after == 0)) || fail "$name: $word holds $after records written after mkdir had returned"
  done < <(guest_said 'RAW\|^EXT4')
  (($(guest_said EXT4 | wc -l) == 1)) || guest_failed "$name: the guest does not say what its ext4 holds"
  e2fsck -fn "$current" >"$work/fsck" 2>&1 || fail "$name: $(<"$work/fsck")"
  [[ "$(records "$snapshots/$name/disk.raw")" == "$cut" ]] || fail "$name: the snapshot changed"
}

round native cache=none,aio=native,discard=unmap
round io_uring cache=none,aio=io_uring
round writeback cache=writeback
check_image
