#!/usr/bin/env bash
# The shell recipes of examples/ do what they say, on small disks. Those that mount what is in a disk need root and loop
# devices.
# ctest: TIMEOUT 300
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../support/qemu/rig.sh"
need getfattr setfattr python3
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../examples" && pwd)
step() { echo "--- $*"; }
tree() { head -n 1 "$mountpoint/.fvd/tree"; }
says() { [[ "$1" == "$2" ]] || fail "'$1' where '$2' is expected"; }
put() { printf '%-512s' "$1" | dd of="${2-$current}" conv=notrunc status=none; } # put WORD [DISK]: as the first sector
word() { head -c 512 "${1-$current}" | tr -d ' \0'; }

mount_image 64M

step "nightly"
mkdir "$snapshots"/nightly-2026-01-0{1,2,3,4}T03:00:00Z "$snapshots/other"
setfattr -n user.fvd.hold -v 1 "$snapshots/nightly-2026-01-02T03:00:00Z"
"$examples/nightly.sh" "$mountpoint" 2
left=$(ls "$snapshots")
says "$(grep -c . <<<"$left")" 4
grep -q '^nightly-2026-01-02' <<<"$left" || fail "the snapshot that is held is gone"
grep -q '^nightly-2026-01-04' <<<"$left" || fail "the newest but one is gone"
grep -q '^other' <<<"$left" || fail "another snapshot is gone"
"$examples/nightly.sh" "$work" 2>/dev/null && fail "nightly works without a mount"
setfattr -x user.fvd.hold "$snapshots/nightly-2026-01-02T03:00:00Z"
rmdir "$snapshots"/*

step "throw-away"
put golden
mkdir "$snapshots/golden"
put precious
# shellcheck disable=SC2016 # DISK is for the command
"$examples/throw-away.sh" "$mountpoint" golden bash -c '
  head -c 6 "$DISK"
  printf thrown | dd of="$DISK" conv=notrunc status=none' >"$work/said"
says "$(<"$work/said")" golden
says "$(word)" precious
says "$(tree)" 'golden->(current-state)'
status=0
"$examples/throw-away.sh" "$mountpoint" golden bash -c 'exit 7' || status=$?
says "$status" 7
says "$(word)" precious
status=0
# shellcheck disable=SC2016
"$examples/throw-away.sh" "$mountpoint" golden bash -c 'exec 3<>"$DISK"; sleep 60 & echo $! >"$1"' x "$work/holder" 2>"$work/said" ||
  status=$?
says "$status" 1
kill "$(<"$work/holder")"
advice=$(sed -n 's/.*any more: //p' "$work/said")
[[ -n "$advice" ]] || fail "what to do is not said: $(<"$work/said")"
for ((i = 0; i < 200; i++)); do bash -c "$advice" 2>/dev/null && break || sleep 0.05; done
says "$(word)" precious
rmdir "$snapshots"/before-throw-away-*

step "clone"
for name in one two; do
  "$examples/clone.sh" "$mountpoint" golden "$work/$name.fvd" >/dev/null
  mkdir "$work/$name"
done
other_mounts=("$work/one" "$work/two")
unmount_others() {
  local directory tries
  for directory in "${other_mounts[@]}"; do
    for ((tries = 0; tries < 50; tries++)); do timeout 20 fusermount3 -u "$directory" 2>/dev/null && break || sleep 0.1; done
    for ((tries = 0; tries < 300; tries++)); do [[ -e "$directory.pid" ]] || break && sleep 0.1; done
  done
  other_mounts=()
}
trap 'status=$?; set +e; unmount_others; (exit $status); clean_up' EXIT
for name in one two; do
  "$FVDFS_BINARY" --pidfile "$work/$name.pid" "$work/$name.fvd" "$work/$name"
  says "$(word "$work/$name/current-state")" golden
  put "$name" "$work/$name/current-state"
done
says "$(word "$work/one/current-state")" one
says "$(word "$snapshots/golden/disk.raw")" golden
! rmdir "$snapshots/golden" 2>/dev/null || fail "the golden snapshot can be deleted"
unmount_others
setfattr -x user.fvd.hold "$snapshots/golden"

step "backup"
if ! "$FVD_BINARY" receive --help >/dev/null 2>&1; then
  echo "this fvd has no send and receive: not tried"
else
  mkdir "$work/remote" "$work/remote-mount" "$work/ssh"
  ln -s "$FVD_BINARY" "$work/ssh/fvd"
  # A stand-in for ssh: another directory for another machine. With a file "cut" the line breaks while a stream is sent.
  cat >"$work/ssh/ssh" <<SCRIPT
#!/bin/sh
[ "\$1" = host ] || exit 255
shift
cd "$work/remote" || exit 255
case "\$*" in
  *receive*) if [ -e "$work/cut" ]; then head -c 100000; else cat; fi | tee "$work/stream" | sh -c "\$*" ;;
  *) exec sh -c "\$*" </dev/null ;;
esac
SCRIPT
  chmod 755 "$work/ssh/ssh"
  backup() { PATH=$work/ssh:$PATH "$examples/backup.sh" "$mountpoint" host "dir with space.fvd"; }
  last() { ls "$snapshots" | grep '^backup-'; }
  same_there() { # same_there NAME...: IMAGE over there has these snapshots, and the last is as here.
    local names
    names=$("$FVD_BINARY" snapshot list --json "$work/remote/dir with space.fvd" | grep -o 'backup-[^"]*' | sort -u)
    says "$names" "$(printf '%s\n' "$@")"
    "$FVDFS_BINARY" -r --pidfile "$work/remote-mount.pid" "$work/remote/dir with space.fvd" "$work/remote-mount"
    other_mounts=("$work/remote-mount")
    cmp "$work/remote-mount/snapshots/${!#}/disk.raw" "$snapshots/${!#}/disk.raw" || fail "the backup differs"
    unmount_others
  }
  head -c 12M /dev/urandom | dd of="$current" oflag=seek_bytes seek=1M conv=notrunc status=none
  backup
  first=$(last)
  same_there "$first"
  (($(stat -c %s "$work/stream") > 12000000)) || fail "the first backup is too small"
  put changed
  sleep 1 # the names have seconds
  touch "$work/cut"
  head -c 1M /dev/urandom | dd of="$current" oflag=seek_bytes seek=3M conv=notrunc status=none
  ! backup 2>/dev/null || fail "a backup that breaks off succeeds"
  same_there "$first"
  rm "$work/cut"
  sleep 1
  backup
  second=$(last)
  says "$(wc -l <<<"$second")" 1
  same_there "$first" "$second"
  (($(stat -c %s "$work/stream") < 2000000)) || fail "the second backup is not incremental"
  rmdir "$snapshots/$second"
  put precious
fi

step "bisect"
mkdir "$snapshots/v0"
for ((i = 1; i <= 9; i++)); do
  put "version $i"
  mkdir "$snapshots/v$i"
done
put "not in any snapshot"
# shellcheck disable=SC2016 # DISK is for the command
"$examples/bisect.sh" "$mountpoint" v0 v9 bash -c '
  version=$(head -c 9 "$DISK" | tr -dc 0-9)
  printf "ruin" | dd of="$DISK" conv=notrunc status=none
  ((version < 6))' >"$work/said"
says "$(tail -n 1 "$work/said")" 'v6 is the first bad one'
(($(wc -l <"$work/said") <= 5)) || fail "bisect tried too many: $(<"$work/said")"
says "$(word)" notinanysnapshot
says "$(tree)" 'golden->v0->v1->v2->v3->v4->v5->v6->v7->v8->v9->(current-state)'
! "$examples/bisect.sh" "$mountpoint" v5 v3 true 2>/dev/null || fail "bisect goes up the tree"
! "$examples/bisect.sh" "$mountpoint" v5 none true 2>"$work/said" || fail "bisect finds what is not there"
grep -q 'no snapshot none in' "$work/said" || fail "bisect without a snapshot: $(<"$work/said")"
rmdir "$snapshots"/*

step "metrics for Prometheus"
mkdir "$work/textfile"
"$examples/prometheus-textfile.sh" "$work/textfile" "$mountpoint" "$work"
says "$(ls -A "$work/textfile")" fvdfs.prom
if command -v promtool >/dev/null; then
  promtool check metrics <"$work/textfile/fvdfs.prom" || fail "promtool finds fault with the metrics"
fi
python3 - "$work/textfile/fvdfs.prom" "$mountpoint" "$work" <<'PYTHON'
import re, sys
described, seen, last, up = set(), set(), None, {}
for line in open(sys.argv[1]):
    if line.startswith("# "):
        kind, name = line.split()[1:3]
        assert (kind, name) not in described, "described twice: " + line
        described.add((kind, name))
        continue
    match = re.fullmatch(r'(\w+)\{mountpoint="([^"]*)"((?:,\w+="[^"]*")*)\} ([0-9.e+]+)\n', line)
    assert match, "not a sample: " + line
    name = match[1]
    assert ("TYPE", name) in described and ("HELP", name) in described, "not described before: " + line
    assert name == last or name not in seen, "not together: " + line
    seen.add(name)
    last = name
    if name == "fvdfs_up":
        up[match[2]] = match[4]
assert "fvd_write_bytes_total" in seen and up == {sys.argv[2]: "1", sys.argv[3]: "0"}, (seen, up)
PYTHON

if ((EUID != 0)); then
  mkdir "$snapshots/mine"
  ! "$examples/restore-file.sh" "$mountpoint" mine file "$work" 2>"$work/said" || fail "restore-file without root"
  grep -q 'needs root' "$work/said" || fail "restore-file without root: $(<"$work/said")"
fi
if ((EUID != 0)) || ! command -v losetup >/dev/null || ! losetup --find >/dev/null 2>&1; then
  echo "restore-file and freeze-snapshot need root and a loop device: they were not tried"
  check_image
  exit 0
fi
ext4=$work/ext4
mkdir "$ext4"
end_ext4() {
  ! mountpoint -q "$ext4" || { fsfreeze -u "$ext4" 2>/dev/null; umount "$ext4"; }
}
trap 'status=$?; set +e; [[ -z "${agent-}" ]] || kill "$agent" 2>/dev/null; end_ext4; (exit $status); clean_up' EXIT

step "restore-file, from a whole disk and from a partition"
need mke2fs partx blkid fsfreeze
mke2fs -q -F -t ext4 "$current"
mount -o loop "$current" "$ext4"
mkdir "$ext4/etc"
echo right >"$ext4/etc/settings"
mkdir "$ext4/run"
ln -s "$work" "$ext4/run/away"
ln -s etc "$ext4/within"
sync -f "$ext4"
mkdir "$snapshots/right"
echo wrong >"$ext4/etc/settings"
"$examples/restore-file.sh" "$mountpoint" right etc/settings "$work/settings"
says "$(<"$work/settings")" right
! "$examples/restore-file.sh" "$mountpoint" right etc/none "$work/settings" 2>/dev/null || fail "a missing file is found"
"$examples/restore-file.sh" "$mountpoint" right within/settings "$work/settings"
echo "not of the disk" >"$work/hosts"
! "$examples/restore-file.sh" "$mountpoint" right run/away/hosts "$work/file" 2>"$work/said" || fail "a file of the host is restored"
grep -q 'leads out of the disk' "$work/said" || fail "a link out of the disk: $(<"$work/said")"

step "freeze-snapshot, by virsh and by the agent's socket"
# Stand-ins for virsh and the agent, which freeze and thaw the ext4 here.
mkdir "$work/bin"
cat >"$work/bin/virsh" <<SCRIPT
#!/bin/sh
echo "\$*" >>"$work/calls"
case "\$*" in
  "--quiet domfsfreeze machine")
    fsfreeze -f "$ext4"
    [ ! -e "$work/fail" ] || exit 1
    [ ! -e "$work/hang" ] || sleep 2
    ;;
  "--quiet domfsthaw machine") fsfreeze -u "$ext4" ;;
  "--quiet domblklist machine") printf ' vda    $current\n sda    /srv/cd.iso\n\n' ;;
  "--quiet domstate machine") if [ -e "$work/off" ]; then echo shut off; else echo running; fi ;;
  "--quiet qemu-agent-command machine"*) [ ! -e "$work/agentless" ] ;;
  "--quiet destroy machine") umount "$ext4" && touch "$work/off" ;;
  "--quiet start machine") mount -o loop "$current" "$ext4" && rm "$work/off" ;;
  *) exit 1 ;;
esac
SCRIPT
chmod 755 "$work/bin/virsh"
PATH=$work/bin:$PATH
freeze() { timeout -k 5 60 "$examples/freeze-snapshot.sh" "$mountpoint" "$@"; }
is_thawed() { timeout 10 sh -c "echo more >>'$ext4/log' && sync -f '$ext4'" || fail "$1: the file system stays frozen"; }

echo unsynced >"$ext4/fresh" # in the page cache only, until the freeze
freeze still --domain machine
is_thawed "after a snapshot"
says "$(grep -c fsfreeze <"$work/calls") $(tail -n 2 "$work/calls")" $'1 --quiet domfsfreeze machine\n--quiet domfsthaw machine'
e2fsck -fn "$snapshots/still/disk.raw" >"$work/fsck" 2>&1 || fail "the snapshot is not at rest: $(<"$work/fsck")"
! grep -q 'recovery\|journal' "$work/fsck" || fail "the snapshot has a journal to replay: $(<"$work/fsck")"
"$examples/restore-file.sh" "$mountpoint" still fresh "$work/fresh"
says "$(<"$work/fresh")" unsynced

! freeze "$(printf 'n%.0s' {1..256})" --domain machine 2>/dev/null || fail "a name that is too long works"
is_thawed "after a snapshot that failed"
touch "$work/fail"
! freeze failed --domain machine || fail "goes on although freezing fails"
is_thawed "after a freeze that failed"
[[ ! -e "$snapshots/failed" ]] || fail "a snapshot although freezing failed"
rm "$work/fail"
touch "$work/hang"
: >"$work/calls"
"$examples/freeze-snapshot.sh" "$mountpoint" killed --domain machine &
script=$!
for ((i = 0; i < 200; i++)); do ! grep -q domfsfreeze "$work/calls" || break && sleep 0.05; done
sleep 0.3
kill -KILL "$script"
wait "$script" 2>/dev/null || true
for ((i = 0; i < 200; i++)); do ! grep -q thaw "$work/calls" || break && sleep 0.05; done
is_thawed "after kill -9"
rm "$work/hang"
touch "$work/agentless"
: >"$work/calls"
! freeze agentless --domain machine 2>/dev/null || fail "freezes without an agent"
! grep -q domfs "$work/calls" || fail "a domain without an agent is frozen, or thawed"
rm "$work/agentless"

step "virsh-snapshot"
vm() { "$examples/virsh-snapshot.sh" "$@"; }
: >"$work/calls"
echo kept >"$ext4/fresh"
vm create machine vm1
is_thawed "after virsh-snapshot"
grep -q thaw "$work/calls" || fail "a running domain with an agent is not frozen"
: >"$work/calls"
touch "$work/agentless"
vm create machine vm2
! grep -q freeze "$work/calls" || fail "a domain without an agent is frozen"
echo given up >"$ext4/fresh"
vm revert machine vm1
says "$(<"$ext4/fresh")" kept
grep -q destroy "$work/calls" || fail "a running domain is reverted"
vm list machine | grep -q 'vm1->{vm2, (current-state)}' || fail "vm1 was not gone to: $(vm list machine)"
vm delete machine vm2
[[ ! -e "$snapshots/vm2" ]] || fail "vm2 is still there"
! vm revert machine vm2 2>/dev/null || fail "goes to what is not there"
! vm create other vm3 2>/dev/null || fail "an unknown domain has a snapshot"

cat >"$work/agent.py" <<'PYTHON'
# As qemu-ga: one client after the other, and the first finds what another left unread.
import json, os, socket, subprocess, sys
path, ext4 = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
left = b'{"return": 4711}\n'
while True:
    client, _ = listener.accept()
    client.sendall(left)
    left = b""
    for line in client.makefile("rb"):
        if line.startswith(b"\xff"):
            client.sendall(b'{"error": {"class": "GenericError", "desc": "stray"}}\n')
            line = line[1:]
        request = json.loads(line)
        command, answer, mark = request["execute"], {"return": 1}, b""
        if command == "guest-sync-delimited":
            answer, mark = {"return": request["arguments"]["id"]}, b"\xff"
        elif subprocess.call(["fsfreeze", {"guest-fsfreeze-freeze": "-f", "guest-fsfreeze-thaw": "-u"}[command], ext4]):
            answer = {"error": {"class": "GenericError", "desc": "cannot do that"}}
        client.sendall(mark + json.dumps(answer).encode() + b"\n")
PYTHON
python3 "$work/agent.py" "$work/agent" "$ext4" &
agent=$!
for ((i = 0; i < 200; i++)); do [[ ! -S "$work/agent" ]] || break && sleep 0.05; done
echo again >"$ext4/fresh"
freeze agent --agent "$work/agent"
is_thawed "after a snapshot by the agent"
"$examples/restore-file.sh" "$mountpoint" agent fresh "$work/fresh"
says "$(<"$work/fresh")" again
kill "$agent"
wait "$agent" 2>/dev/null || true
agent=''
! freeze none --agent "$work/agent" 2>"$work/said" || fail "works without an agent"
[[ "$(wc -l <"$work/said")" == 1 ]] && grep -qF "$work/agent" "$work/said" || fail "without an agent: $(<"$work/said")"
[[ ! -e "$snapshots/none" ]] || fail "a snapshot although no agent answers"
umount "$ext4"

step "restore-file from a partition"
python3 -c '
import struct, sys
entry = lambda start, count: struct.pack("<8B2I", 0, 0, 0, 0, 0x83, 0, 0, 0, start, count)
sys.stdout.buffer.write(entry(2048, 4096) + entry(8192, 106496) + bytes(32) + b"\x55\xaa")' |
  dd of="$current" bs=1 seek=446 conv=notrunc status=none
mke2fs -q -F -t ext4 -E offset=$((8192 * 512)) "$current" 48M
# The loop device of the last mount goes a moment after its unmount.
for ((i = 0; i < 100; i++)); do
  [[ -n "$(losetup -j "$current")" ]] || break
  sleep 0.1
done
mount -o loop,offset=$((8192 * 512)) "$current" "$ext4"
echo here >"$ext4/file"
umount "$ext4"
mkdir "$snapshots/parts"
"$examples/restore-file.sh" "$mountpoint" parts file "$work/file" 2
says "$(<"$work/file")" here
check_image
