#!/usr/bin/env bash
# examples/freeze-snapshot.sh with a virtual machine and QEMU's own guest agent: the snapshot has a file system at rest, with
# what the machine had not synced, and the machine goes on, also when the snapshot fails.
# ctest: TIMEOUT 300 LABELS mount;slow
set -euo pipefail
support=$(cd "$(dirname "${BASH_SOURCE[0]}")/../support/qemu" && pwd)
. "$support/rig.sh"
. "$support/guest.sh"
need mke2fs e2fsck debugfs python3 qemu-ga
freeze=$support/../../../examples/freeze-snapshot.sh

find_kernel
build_initramfs qemu-ga
find_accelerator
echo "virtual machines run with $accelerator"
mount_image 96M
mke2fs -q -F -t ext4 "$current" 64M

guest_start agent cache=none,aio=native -chardev "socket,path=$work/agent,server=on,wait=off,id=agent" \
  -device virtio-serial -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0
guest_expect READY 1
# The agent may take a moment to open its end.
for ((tries = 0; tries < 20; tries++)); do
  timeout 100 "$freeze" "$mountpoint" "rest$tries" --agent "$work/agent" 2>"$work/said" && break
  sleep 0.5
done
((tries < 20)) || guest_failed "no snapshot: $(<"$work/said")"
snapshot=$snapshots/rest$tries/disk.raw
! timeout 100 "$freeze" "$mountpoint" "$(printf 'n%.0s' {1..256})" --agent "$work/agent" 2>/dev/null ||
  fail "a name that is too long works"
echo go >&9
guest_expect WRITTEN 1
guest_wait

e2fsck -fn "$snapshot" >"$work/fsck" 2>&1 || fail "the snapshot is not at rest: $(<"$work/fsck")"
! grep -q 'recovery\|journal' "$work/fsck" || fail "the snapshot has a journal to replay: $(<"$work/fsck")"
[[ "$(debugfs -R 'cat fresh' "$snapshot" 2>/dev/null)" == unsynced ]] || fail "the snapshot lacks what was not synced"
[[ "$(debugfs -R 'cat after' "$current" 2>/dev/null)" == thawed ]] || fail "the machine did not go on"
check_image
