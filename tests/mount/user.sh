#!/usr/bin/env bash
# An ordinary user needs no privilege but fusermount3: makes an image, mounts it, takes, goes to, renames and deletes
# snapshots, unmounts and checks. allow_other is explained where /etc/fuse.conf forbids it, and works where it does not.
# The user is made for the test; a mount namespace has a /dev/fuse and a fuse.conf as on a system for users.
# ctest: TIMEOUT 120 RESOURCE_LOCK users
set -euo pipefail
: "${FVD_BINARY:?the program fvd}" "${FVDFS_BINARY:?the program fvdfs}"

skip() { echo "user: $*: skipped" && exit 77; }

((EUID == 0)) || skip "the whole suite runs as an ordinary user"
PATH=$PATH:/usr/sbin:/sbin
for name in useradd userdel runuser fusermount3 mknod; do command -v "$name" >/dev/null || skip "no $name"; done
if [[ "${1-}" != inside ]]; then
  unshare --mount true 2>/dev/null || skip "no mount namespaces here"
  exec timeout -k 10 100 unshare --mount --propagation private bash "${BASH_SOURCE[0]}" inside
fi
. "$(dirname "${BASH_SOURCE[0]}")/../support/user.sh"
[[ -e /etc/fuse.conf ]] || skip "no /etc/fuse.conf"

fail() {
  echo "user: $*" >&2
  exit 1
}

work=$(mktemp -d) other=nobody
clean_up() {
  local status=$?
  trap - EXIT
  set +e
  umount -l "$work/home/mnt" 2>/dev/null
  # A daemon that the unmount did not end, and of this user only.
  [[ ! -s "$work/home/pid" ]] || runuser -u "$user" -- kill -KILL "$(<"$work/home/pid")" 2>/dev/null && sleep 0.2
  remove_user
  umount /etc/fuse.conf 2>/dev/null
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 143' TERM INT HUP

make_user
as() { run_as "$1" 60 "$2"; }
allow_others() { # allow_others {yes|no}
  umount /etc/fuse.conf 2>/dev/null || true
  if [[ "$1" == yes ]]; then echo user_allow_other; else echo '#user_allow_other'; fi >"$work/fuse.conf"
  mount --bind "$work/fuse.conf" /etc/fuse.conf
}
unmount='fusermount3 -u mnt; for i in $(seq 1000); do [ -e pid ] || break; sleep 0.01; done; [ ! -e pid ]'

allow_others no
said=$(as "$user" '
  fvd create disk.fvd 32M >/dev/null
  fvdfs --log-file log --pidfile pid disk.fvd mnt
  printf one | dd of=mnt/current-state conv=notrunc status=none
  mkdir mnt/snapshots/s1
  printf two | dd of=mnt/current-state conv=notrunc status=none
  mkdir mnt/snapshots/s2
  head -c 3 mnt/snapshots/s1/disk.raw; head -c 3 mnt/current-state
  mv mnt/snapshots/s1 mnt/snapshots/current-state
  head -c 3 mnt/current-state; echo
  mv mnt/snapshots/s2 mnt/snapshots/second
  head -n 1 mnt/.fvd/tree
  rmdir mnt/snapshots/second
  ! (echo x >mnt/snapshots/s1/disk.raw) 2>/dev/null
  stat -c "%U %a" mnt/current-state
  '"$unmount"'
  fvd check disk.fvd | tail -n 1 | cut -d , -f 2
  fvd snapshot create disk.fvd s3
  fvd tree disk.fvd | head -n 1
')
expected="onetwoone
s1->{second, (current-state)}
$user 644
 1 snapshot
s1->s3->(current-state)"
diff - <(echo "$said") <<<"$expected" || fail "the user saw something else"

# Others, root too, are not let in; and the user is told how to have them let in.
as "$user" 'fvdfs --pidfile pid disk.fvd mnt'
! as "$other" 'cat mnt/.fvd/tree' >/dev/null 2>&1 || fail "others are let in without allow_other"
! cat "$work/home/mnt/.fvd/tree" >/dev/null 2>&1 || fail "root is let in without allow_other"
# What fusermount3 says of a directory that is a mount already does not tell that.
status=0
as "$user" 'fvd create second.fvd 1M >/dev/null; fvdfs second.fvd mnt' 2>"$work/said" || status=$?
[[ $status == 1 && "$(wc -l <"$work/said")" == 1 ]] || fail "mounted twice: status $status: $(<"$work/said")"
grep -q 'something is mounted there already' "$work/said" || fail "a second mount is not explained: $(<"$work/said")"
as "$user" "$unmount"
status=0
as "$user" 'fvdfs -o allow_other disk.fvd mnt' 2>"$work/said" || status=$?
[[ $status == 1 && "$(wc -l <"$work/said")" == 1 ]] || fail "allow_other: status $status: $(<"$work/said")"
grep -q 'user_allow_other.*/etc/fuse.conf' "$work/said" || fail "allow_other is not explained: $(<"$work/said")"

allow_others yes
as "$user" 'fvdfs -o allow_other,umask=022 --pidfile pid disk.fvd mnt'
[[ "$(as "$other" 'head -c 3 mnt/snapshots/s1/disk.raw')" == one ]] || fail "others are not let in"
! as "$other" 'printf x | dd of=mnt/current-state conv=notrunc status=none' 2>/dev/null || fail "others may write"
! as "$other" 'mkdir mnt/snapshots/s4' 2>/dev/null || fail "others may take snapshots"
! as "$other" 'rmdir mnt/snapshots/s3' 2>/dev/null || fail "others may delete snapshots"
as "$user" 'mkdir mnt/snapshots/s4'
as "$user" "$unmount"
as "$user" 'fvd check disk.fvd >/dev/null' || fail "the image is not consistent"
