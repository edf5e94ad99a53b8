#!/usr/bin/env bash
# docs/libvirt.md with libvirt's own daemon: its domain is defined and starts on an image that its hook mounts, QEMU runs as
# libvirt-qemu, examples/virsh-snapshot.sh takes a snapshot with the file systems of the machine at rest and goes back to it,
# and whatever fails in between, the machine is thawed. All in namespaces, with an /etc, a
# /run and a /srv of its own.
# ctest: TIMEOUT 400 LABELS mount;slow
set -euo pipefail
if ((EUID != 0)); then echo "skipped: needs root for a mount namespace" && exit 77; fi
if [[ "${1-}" != inside ]]; then
  unshare --mount --net --pid --fork --mount-proc true 2>/dev/null || { echo "skipped: no namespaces here" && exit 77; }
  # The shell as the first process of its own: it reaps QEMU at once, for which libvirt waits, and whatever is left ends with it.
  exec timeout -k 10 380 unshare --mount --net --propagation private --pid --fork --mount-proc --kill-child=TERM \
    bash "${BASH_SOURCE[0]}" inside
fi
. "$(dirname "${BASH_SOURCE[0]}")/../support/namespace.sh"
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
support=$top/tests/support/qemu
. "$support/rig.sh"
. "$support/guest.sh"
need mke2fs e2fsck debugfs python3 qemu-ga libvirtd virsh virt-xml-validate xmllint
find_kernel
build_initramfs qemu-ga
find_accelerator
echo "the machine runs with $accelerator"

block() { # block LANGUAGE N: that block of the document.
  awk -v language="$1" -v n="$2" '
    /^```/ { inside = !inside && $0 == "```" language; count += inside; next }
    inside && count == n' "$top/docs/libvirt.md"
}
step() { echo "--- $*"; }
says() { [[ "$1" == "$2" ]] || fail "'$1' where '$2' is expected"; }

# --- A host for virtual machines ---------------------------------------------------------------------------------------

chmod 755 "$work"
mkdir "$work"/{etc,srv,bin,guest}
cp -a /etc/. "$work/etc/"
mount --bind "$work/etc" /etc
mount --bind "$work/srv" /srv
mount -t tmpfs -o mode=755 run /run
for directory in /var/lib /var/cache /var/log; do mount -t tmpfs -o mode=755 libvirt "$directory"; done
mkdir -p /etc/libvirt/hooks /etc/fvdfs /run/libvirt
mkdir /srv/vm
getent passwd libvirt-qemu >/dev/null || echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>/etc/passwd
getent group kvm >/dev/null || echo 'kvm:x:64057:' >>/etc/group
getent group libvirt-qemu >/dev/null || echo 'libvirt-qemu:x:64055:' >>/etc/group
printf 'security_driver = "none"\nstdio_handler = "file"\ncgroup_controllers = []\n' >/etc/libvirt/qemu.conf

# What the hook asks of systemd, done by hand: the lines of the unit are tried elsewhere.
block sh 1 >/etc/libvirt/hooks/qemu
chmod 755 /etc/libvirt/hooks/qemu
awk '/^    # \/etc\/fvdfs\/a.conf/ { inside = 1; next } /^ *$/ { inside = 0 } inside { print $0 }' "$top/docs/libvirt.md" |
  sed 's/^ *//' >/etc/fvdfs/a.conf
grep -q '^IMAGE=/srv/vm/a.fvd$' /etc/fvdfs/a.conf || fail "no configuration in the document: $(</etc/fvdfs/a.conf)"
cat >"$work/bin/systemctl" <<SYSTEMCTL
#!/bin/sh -e
echo "\$*" >>$work/systemctl.log
value() { sed -n "s/^\$1=//p" /etc/fvdfs/a.conf; }
case "\$*" in
  "start fvdfs@a")
    mkdir -p "\$(value MOUNTPOINT)"
    exec "$FVDFS_BINARY" --pidfile "$pidfile" --log-file "$work/fvdfs.log" \$(value OPTIONS) "\$(value IMAGE)" "\$(value MOUNTPOINT)"
    ;;
  "stop fvdfs@a") fusermount3 -u "\$(value MOUNTPOINT)" && while [ -e "$pidfile" ]; do sleep 0.05; done ;;
  *) exit 1 ;;
esac
SYSTEMCTL
chmod 755 "$work/bin/systemctl"
PATH=$work/bin:$PATH

image=/srv/vm/a.fvd mountpoint=/srv/vm/a current=/srv/vm/a/current-state snapshots=/srv/vm/a/snapshots
"$FVD_BINARY" create "$image" 96M >/dev/null

cat >"$work/libvirtd.conf" <<CONF
unix_sock_dir = "$work/socket"
auth_unix_rw = "none"
log_outputs = "3:file:$work/libvirtd.log"
CONF
mkdir "$work/socket"
export LIBVIRT_DEFAULT_URI="qemu+unix:///system?socket=$work/socket/libvirt-sock"
libvirtd=''
end_libvirt() {
  [[ -n "$libvirtd" ]] || return 0
  timeout 30 virsh --quiet destroy a
  kill "$libvirtd" && wait "$libvirtd"
  umount -l /dev/fuse "$work/dev" /var/lib /var/cache /var/log /run
} >/dev/null 2>&1
clean_up_all() {
  local status=$?
  set +e
  ((status == 0 || status == 77)) || { tail -n 30 "$work/libvirtd.log" "$work/libvirtd.said" /var/log/libvirt/qemu/a.log "$work/console"; } >&2
  end_libvirt
  [[ ! -e "$pidfile" ]] || daemon=$(<"$pidfile")
  (exit "$status")
  clean_up
}
trap clean_up_all EXIT
libvirt() { timeout -k 5 120 virsh --quiet "$@"; }
eventually() { # eventually COMMAND...: within a minute.
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    ! "$@" || return 0
    sleep 0.2
  done
  return 1
}
start_libvirt() {
  libvirtd --config "$work/libvirtd.conf" --pid-file "$work/libvirtd.pid" >"$work/libvirtd.said" 2>&1 &
  libvirtd=$!
  eventually libvirt uri >/dev/null 2>&1
}
start_libvirt || skip "libvirtd does not start here: $(tail -n 3 "$work/libvirtd.log")"

# --- The domain of the document ----------------------------------------------------------------------------------------

block xml 1 >"$work/domain.xml"
virt-xml-validate "$work/domain.xml" >"$work/said" 2>&1 || fail "$(<"$work/said")"

# With a kernel of its own and a console, and a snapshot as a further disk; where there is no KVM, by emulation.
cp "$kernel" "$work/guest/kernel"
cp "$initramfs" "$work/guest/initramfs"
chmod 644 "$work"/guest/*
boot="<kernel>$work/guest/kernel</kernel><initrd>$work/guest/initramfs</initrd>"
boot+="<cmdline>console=ttyS0 quiet panic=-1 fvd_mode=agent</cmdline>"
second=$(grep -o "<source file='/srv/vm/a/snapshots/s1/disk.raw'/>" "$top/docs/libvirt.md") ||
  fail "the document has no snapshot as a further disk"
second="<disk type='file' device='disk'><driver name='qemu' type='raw'/>$second<target dev='vdb' bus='virtio'/><readonly/></disk>"
[[ "$accelerator" == kvm ]] || sed -i "s/<domain type='kvm'>/<domain type='qemu'>/" "$work/domain.xml"
sed -e "s|<memory unit='GiB'>2</memory>|<memory unit='MiB'>256</memory>|; s|</os>|$boot</os>|" \
  -e "s|</devices>|$second<serial type='file'><source path='$work/console'/></serial></devices>|" "$work/domain.xml" \
  >"$work/a.xml"
virt-xml-validate "$work/a.xml" >"$work/said" 2>&1 || fail "$(<"$work/said")"
libvirt define "$work/a.xml"

systemctl start fvdfs@a
mke2fs -q -F -t ext4 "$current" 64M
mkdir "$snapshots/s1"
systemctl stop fvdfs@a

agent() { libvirt qemu-agent-command a "$1"; }
answers() { agent '{"execute":"guest-ping"}' >/dev/null 2>&1; }
is_thawed() {
  eventually eval '[[ "$(agent "{\"execute\":\"guest-fsfreeze-status\"}")" == *thawed* ]]' || fail "$1: the machine stays frozen"
}
boots() { # The machine is up when it has written /fresh, which it does not sync.
  eventually grep -qas '^READY' "$work/console" || fail "the machine does not boot"
  eventually answers || fail "no guest agent answers"
}
mounted() { grep -q ' /srv/vm/a fuse.fvdfs ' /proc/self/mounts; }

step "the hook mounts, and QEMU's user gets the disk"
! mounted || fail "mounted before the machine starts"
libvirt start a
mounted || fail "the hook does not mount"
says "$(stat -c %U "$current")" libvirt-qemu
says "$(ps -o user:20= -C qemu-system-x86_64 | sort -u)" libvirt-qemu
libvirt qemu-monitor-command --hmp a 'info block' | grep -q 'snapshots/s1/disk.raw (raw, read-only)' ||
  fail "the snapshot is not a read-only disk"
boots

step "virsh-snapshot.sh create"
vm() { timeout -k 5 120 "$top/examples/virsh-snapshot.sh" "$@"; }
vm create a still
is_thawed "after a snapshot"
e2fsck -fn "$snapshots/still/disk.raw" >"$work/fsck" 2>&1 || fail "the snapshot is not at rest: $(<"$work/fsck")"
! grep -q 'recovery\|journal' "$work/fsck" || fail "the snapshot has a journal to replay: $(<"$work/fsck")"
says "$(debugfs -R 'cat fresh' "$snapshots/still/disk.raw" 2>/dev/null)" unsynced
! vm create a "$(printf 'n%.0s' {1..256})" 2>/dev/null || fail "a name that is too long works"
is_thawed "after a snapshot that failed"

step "kill -9 while the machine is frozen"
cat >"$work/bin/virsh" <<VIRSH
#!/bin/sh
"$(command -v virsh)" "\$@" || exit
case "\$*" in *domfsfreeze*) touch "$work/frozen" && sleep 2 ;; esac
VIRSH
chmod 755 "$work/bin/virsh"
"$top/examples/freeze-snapshot.sh" /srv/vm/a killed --domain a &
script=$!
eventually test -e "$work/frozen" || fail "domfsfreeze was not called"
kill -KILL "$script"
wait "$script" 2>/dev/null || true
rm "$work/bin/virsh"
hash -r
is_thawed "after kill -9"

step "virsh-snapshot.sh revert, list, delete"
handle=$(agent '{"execute":"guest-file-open","arguments":{"path":"/mnt/later","mode":"w"}}' | tr -dc 0-9)
agent "{\"execute\":\"guest-file-write\",\"arguments\":{\"handle\":$handle,\"buf-b64\":\"bGF0ZXI=\"}}" >/dev/null
agent "{\"execute\":\"guest-file-close\",\"arguments\":{\"handle\":$handle}}" >/dev/null
vm create a later
says "$(debugfs -R 'cat later' "$snapshots/later/disk.raw" 2>/dev/null)" later
: >"$work/console"
vm revert a still
boots
vm list a | grep -qF 's1->still->{later, (current-state)}' || fail "still was not gone to: $(vm list a)"
! vm delete a s1 2>/dev/null || fail "a snapshot that the machine has as a disk is deleted"
vm delete a later
libvirt destroy a
! mounted || fail "the hook does not unmount"
! vm list a 2>"$work/said" || fail "lists what is not mounted"
grep -q 'no image is mounted at /srv/vm/a' "$work/said" || fail "without a mount: $(<"$work/said")"

step "without dynamic ownership"
kill "$libvirtd"
wait "$libvirtd" || true
echo 'dynamic_ownership = 0' >>/etc/libvirt/qemu.conf
sed -i "s/^OPTIONS=.*/&,uid=$(id -u libvirt-qemu),gid=$(getent group kvm | cut -d : -f 3)/" /etc/fvdfs/a.conf
start_libvirt
libvirt start --paused a
says "$(stat -c '%U %G' "$current")" 'libvirt-qemu kvm'
says "$(libvirt domstate a | head -n 1)" paused
! [[ "$(debugfs -R 'cat later' "$current" 2>/dev/null)" == later ]] || fail "the disk holds what was given up"
libvirt destroy a
libvirt undefine a
"$FVD_BINARY" check "$image" || fail "fvd check: status $?"

step "qemu:///session, as an ordinary user without allow_other"
echo "fvdtest:x:64058:64058::$work/user:/bin/sh" >>/etc/passwd
echo 'fvdtest:x:64058:' >>/etc/group
mkdir -p "$work"/{user/run,dev}
mount -t tmpfs -o mode=755 fvdfs-test "$work/dev"
mknod -m 666 "$work/dev/fuse" c 10 229
mount --bind "$work/dev/fuse" /dev/fuse
cp "$FVD_BINARY" "$work/bin/fvd"
cp "$FVDFS_BINARY" "$work/bin/fvdfs"
cp -r "$top/examples" "$work/examples"
sed "s|/srv/vm/a/|$work/user/vm/|; s|<kernel>.*</cmdline>||; s|<serial.*</serial>||" "$work/a.xml" >"$work/user/a.xml"
chmod -R a+rX "$work/bin" "$work/examples"
chown -R fvdtest: "$work/user"
as_user() {
  timeout -k 5 120 runuser -u fvdtest -- env PATH="$work/bin:$work/examples:$PATH" HOME="$work/user" \
    XDG_RUNTIME_DIR="$work/user/run" LIBVIRT_DEFAULT_URI=qemu:///session bash -euo pipefail -c "cd; $1"
}
if ! as_user ': <>/dev/fuse' 2>/dev/null; then
  echo "/dev/fuse cannot be opened by others here: not tried"
  exit 0
fi
as_user '
  fvd create vm.fvd 64M >/dev/null
  mkdir vm
  fvdfs --pidfile pid vm.fvd vm
  mkdir vm/snapshots/s1
  virsh --quiet define a.xml
  virsh --quiet start --paused a
  ps -o user:20= -C qemu-system-x86_64
  virsh-snapshot.sh create a s2
  virsh-snapshot.sh revert a s1
  virsh --quiet domstate a | head -n 1
  virsh-snapshot.sh list a | head -n 1
  virsh --quiet destroy a
  fusermount3 -u vm
  while [ -e pid ]; do sleep 0.05; done
  fvd check vm.fvd >/dev/null' >"$work/said" || fail "as an ordinary user: $(<"$work/said")"
says "$(<"$work/said")" $'fvdtest\npaused\ns1->{s2, (current-state)}'
