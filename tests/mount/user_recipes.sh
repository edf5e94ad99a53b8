#!/usr/bin/env bash
# The shell recipes of examples/ as an ordinary user: tests/mount/recipes.sh once more, and examples/backup.sh through a
# real ssh to a server of the test's own, which breaks off once. The user is made for the test, in a mount namespace with a
# /dev/fuse as on a system for users.
# ctest: TIMEOUT 300 RESOURCE_LOCK users
set -euo pipefail
: "${FVD_BINARY:?the program fvd}" "${FVDFS_BINARY:?the program fvdfs}"

skip() { echo "user_recipes: $*: skipped" && exit 77; }

((EUID == 0)) || skip "the whole suite runs as an ordinary user"
PATH=$PATH:/usr/sbin:/sbin
for name in useradd userdel runuser fusermount3 mknod python3; do command -v "$name" >/dev/null || skip "no $name"; done
if [[ "${1-}" != inside ]]; then
  unshare --mount --pid --fork --mount-proc true 2>/dev/null || skip "no namespaces here"
  # What the user leaves running ends with the shell here, which is the first process of its own.
  exec timeout -k 10 280 unshare --mount --propagation private --pid --fork --mount-proc --kill-child=TERM \
    bash "${BASH_SOURCE[0]}" inside
fi
. "$(dirname "${BASH_SOURCE[0]}")/../support/user.sh"

fail() {
  echo "user_recipes: $*" >&2
  exit 1
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d) server=''
clean_up() {
  local status=$?
  trap - EXIT
  set +e
  [[ -z "$server" ]] || kill "$server" 2>/dev/null
  remove_user
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 143' TERM INT HUP

mkdir -p "$work"/tests/{mount,support} "$work"/home/{there,.ssh}
cp -r "$top/examples" "$work/"
cp -r "$top/tests/support/qemu" "$work/tests/support/"
cp "$top/tests/mount/recipes.sh" "$work/tests/mount/"
chmod -R a+rX "$work"
make_user
as_user() { run_as "$user" "$1" "$2"; }

status=0
as_user 200 "bash $work/tests/mount/recipes.sh" || status=$?
((status == 0)) || fail "recipes.sh as an ordinary user: status $status"

for name in ssh ssh-keygen dropbear dropbearkey; do
  command -v "$name" >/dev/null || { echo "no $name here: the backup through ssh was not tried" && exit 0; }
done
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
as_user 30 '
  chmod 700 .ssh
  dropbearkey -t ed25519 -f host-key >/dev/null 2>&1
  ssh-keygen -q -t ed25519 -N "" -f .ssh/key
  echo "command=\"'"$work"'/bin/over-there\" $(cat .ssh/key.pub)" >.ssh/authorized_keys
  printf "Host backup\n HostName 127.0.0.1\n Port '"$port"'\n IdentityFile ~/.ssh/key\n BatchMode yes\n StrictHostKeyChecking accept-new\n" >.ssh/config
  chmod 600 .ssh/*'
# What this user may do over there: run a command where fvd is found. The file "cut" breaks off one that receives.
cat >"$work/bin/over-there" <<SCRIPT_THERE
#!/bin/sh
PATH=$work/bin:\$PATH
cd $work/home/there || exit
case "\$SSH_ORIGINAL_COMMAND" in
  *receive*) [ ! -e $work/home/cut ] || { head -c 100000 | sh -c "\$SSH_ORIGINAL_COMMAND"; exit; } ;;
esac
exec sh -c "\$SSH_ORIGINAL_COMMAND"
SCRIPT_THERE
chmod 755 "$work/bin/over-there"
runuser -u "$user" -- dropbear -F -E -s -r "$work/home/host-key" -p "127.0.0.1:$port" -P "$work/home/dropbear.pid" \
  2>"$work/dropbear.log" &
server=$!
for ((tries = 0; tries < 100; tries++)); do
  as_user 10 'ssh backup true' 2>"$work/said" && break
  sleep 0.1
done
((tries < 100)) || fail "no ssh to the server of the test: $(<"$work/said") $(<"$work/dropbear.log")"

as_user 120 '
  fvd create disk.fvd 64M >/dev/null
  fvdfs --pidfile pid disk.fvd mnt
  head -c 12M /dev/urandom | dd of=mnt/current-state conv=notrunc status=none
  '"$work"'/examples/backup.sh mnt backup copy.fvd
  first=$(ls mnt/snapshots)
  cmp <(fvd convert -s "$first" there/copy.fvd first.raw >/dev/null && cat first.raw) "mnt/snapshots/$first/disk.raw"
  head -c 1M /dev/urandom | dd of=mnt/current-state oflag=seek_bytes seek=3M conv=notrunc status=none
  sleep 1
  touch cut
  ! '"$work"'/examples/backup.sh mnt backup copy.fvd 2>/dev/null
  rm cut
  [ "$(fvd snapshot list --json there/copy.fvd | grep -c "\"name\": \"backup-")" = 1 ]
  fvd check there/copy.fvd >/dev/null
  sleep 1
  '"$work"'/examples/backup.sh mnt backup copy.fvd
  second=$(ls mnt/snapshots)
  [ "$second" != "$first" ]
  fvd convert -s "$second" there/copy.fvd second.raw >/dev/null
  cmp second.raw "mnt/snapshots/$second/disk.raw"
  fvd tree there/copy.fvd | head -n 1 | grep -qF "$first->"
  fusermount3 -u mnt
  for i in $(seq 1000); do [ -e pid ] || break; sleep 0.01; done
  fvd check disk.fvd >/dev/null' || fail "backup through ssh"
