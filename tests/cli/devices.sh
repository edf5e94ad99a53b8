#!/usr/bin/env bash
# convert, compare and compact on block devices. Needs root and a loop device.
set -euo pipefail
: "${FVD_BINARY:?the tool under test}"

skip() {
  echo "skipped: $*"
  exit 77
}
fail() {
  echo "devices: $*" >&2
  exit 1
}
((EUID == 0)) || skip "loop devices need root"
command -v losetup >/dev/null || skip "losetup is not installed"

work=$(mktemp -d)
device=
cleanup() {
  [[ -z "$device" ]] || losetup -d "$device" || true
  rm -rf "$work"
}
trap cleanup EXIT

truncate -s 48M "$work/backing"
device=$(losetup -f --show "$work/backing" 2>/dev/null) || skip "no loop device can be had here"

head -c 3000000 /dev/urandom >"$work/random"
truncate -s 32M "$work/disk.raw"
dd if="$work/random" of="$work/disk.raw" bs=512 seek=4001 conv=notrunc status=none
"$FVD_BINARY" convert -O fvd "$work/disk.raw" "$work/disk.fvd"

# What the device held must not show through the holes of the disk; what lies past its end stays.
head -c 48M /dev/zero | tr '\0' x >"$device"
if "$FVD_BINARY" convert "$work/disk.fvd" "$device" 2>"$work/said"; then fail "a device was overwritten without --force"; fi
grep -q -- --force "$work/said" || fail "the message does not name --force: $(cat "$work/said")"
"$FVD_BINARY" convert --force "$work/disk.fvd" "$device"
cmp -n $((32 << 20)) "$device" "$work/disk.raw" || fail "the device does not hold the disk"
[[ "$(dd if="$device" bs=1M skip=32 count=16 status=none | tr -d x | wc -c)" == 0 ]] || fail "the rest was touched"

"$FVD_BINARY" create "$work/large.fvd" 64M >/dev/null
if "$FVD_BINARY" convert --force "$work/large.fvd" "$device" 2>"$work/said"; then fail "the device is too small"; fi
grep -q "33554432\|50331648" "$work/said" || fail "the message names no size: $(cat "$work/said")"
grep -q "choose a larger one" "$work/said" || fail "the advice does not fit a device: $(cat "$work/said")"

# From the device: 32 MiB of the disk, and then 16 MiB of x.
"$FVD_BINARY" convert "$device" "$work/copy.raw"
cmp "$device" "$work/copy.raw" || fail "the copy of the device differs"
"$FVD_BINARY" compare "$device" "$work/copy.raw" >/dev/null || fail "compare sees a difference"
status=0
"$FVD_BINARY" compare "$device" "$work/disk.fvd" >"$work/said" || status=$?
[[ $status == 1 ]] || fail "compare of different disks: status $status"
grep -q "at offset 33554432" "$work/said" || fail "compare names another place: $(cat "$work/said")"

# An image on the device.
"$FVD_BINARY" convert --force -O fvd --chunk-size 64K "$work/disk.raw" "$device"
"$FVD_BINARY" compare "$device" "$work/disk.raw" >/dev/null || fail "the image on the device differs"
"$FVD_BINARY" compact "$device" >/dev/null
"$FVD_BINARY" check "$device" >/dev/null || fail "the image on the device is not sound"
"$FVD_BINARY" compare "$device" "$work/disk.raw" >/dev/null || fail "compacting changed the image on the device"
