#!/usr/bin/env bash
# The Debian package in a Debian 12 whose systemd has booted, in a container: fvdfs@NAME waits for its image and mounts it
# once it is there; it is started again after a kill -9 and not after wrong usage; stopping it and shutting down leave the
# image closed cleanly; a machine's service that needs it is stopped before it.
# Downloads a system, so it runs only where FVD_TEST_CHROOT is set, as package_chroot does.
# ctest: TIMEOUT 1800 LABELS cli;slow;package
set -euo pipefail
: "${FVD_BUILD_DIR:?the build directory}" "${FVD_BINARY:?the program fvd}"

skip() { echo "package_boot: $*: skipped" && exit 77; }
PATH=$PATH:/usr/sbin:/sbin
[[ -n "${FVD_TEST_CHROOT-}" ]] || skip "FVD_TEST_CHROOT is not set (this takes minutes and downloads a Debian)"
((EUID == 0)) || skip "needs root for a container"
for name in debootstrap systemd-nspawn cpack dpkg-shlibdeps file script; do command -v "$name" >/dev/null || skip "no $name"; done
if [[ "${1-}" != inside ]]; then
  unshare --mount --pid --fork --mount-proc true 2>/dev/null || skip "no namespaces here"
  exec unshare --mount --propagation private --pid --fork --mount-proc --kill-child=TERM bash "${BASH_SOURCE[0]}" inside
fi
. "$(dirname "${BASH_SOURCE[0]}")/../support/namespace.sh"

fail() {
  echo "package_boot: $*" >&2
  tail -n 30 "$work/console" "$root/var/log/trial" >&2 || true
  exit 1
}

work=$(mktemp -d "${TMPDIR:-/var/tmp}/fvdfs-boot.XXXXXX")
root=$work/root
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 143' TERM INT HUP

(cd "$work" && cpack -G DEB --config "$FVD_BUILD_DIR/CPackConfig.cmake" -B "$work/packages") >"$work/log" 2>&1 ||
  { cat "$work/log" && fail "cpack"; }
debootstrap --variant=minbase --include=systemd-sysv,dbus bookworm "$root" \
  "${FVD_TEST_MIRROR:-http://deb.debian.org/debian}" >"$work/log" 2>&1 ||
  { tail -n 5 "$work/log" && skip "debootstrap does not work here"; }
cp "$work/packages"/fvdfs_*.deb "$root/fvdfs.deb"
chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive \
  apt-get install -y --no-install-recommends /fvdfs.deb </dev/null >"$work/log" 2>&1 ||
  { tail -n 30 "$work/log" && fail "the package does not install"; }

mkdir -p "$root/etc/fvdfs" "$root/srv/vm"
printf 'IMAGE=/srv/vm/a.fvd\nMOUNTPOINT=/srv/vm/a\nOPTIONS=-o allow_other --log-level info\n' >"$root/etc/fvdfs/a.conf"
printf 'IMAGE=/srv/vm/a.fvd\nMOUNTPOINT=/srv/vm/b\nOPTIONS=--no-such-option\n' >"$root/etc/fvdfs/b.conf"
ln -s /lib/systemd/system/fvdfs@.service "$root/etc/systemd/system/multi-user.target.wants/fvdfs@a.service"
# Stands for a virtual machine: has the disk open, and writes its last words to it when it is stopped.
cat >"$root/etc/systemd/system/machine.service" <<'UNIT'
[Unit]
Requires=fvdfs@a.service
After=fvdfs@a.service
[Service]
ExecStart=/bin/bash /machine
UNIT
cat >"$root/machine" <<'MACHINE'
exec 3<>/srv/vm/a/current-state
trap 'printf last >&3 && sync -d /srv/vm/a/current-state; exit' TERM
while :; do sleep 0.1; done
MACHINE
cat >"$root/etc/systemd/system/trial.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /trial
StandardOutput=file:/var/log/trial
StandardError=inherit
[Install]
WantedBy=graphical.target
UNIT
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -s ../trial.service "$root/etc/systemd/system/graphical.target.wants/trial.service"
cat >"$root/trial" <<'TRIAL'
set -u
trap 'systemctl poweroff --no-block' EXIT
unit=fvdfs@a
eventually() { for ((i = 0; i < 300; i++)); do "$@" && return 0 || sleep 0.1; done; return 1; }
fail() { echo "FAILED: $*"; systemctl status "$unit" --no-pager; journalctl -t fvdfs --no-pager; exit 1; }
is() { [[ "$(systemctl show -P "$1" "$unit")" == "$2" ]]; }
eventually is SubState auto-restart || fail "without an image it is not tried again"
fvd create /srv/vm/a.fvd 32M
eventually systemctl -q is-active "$unit" || fail "not started although the image is there"
mkdir /srv/vm/a/snapshots/s1 || fail "active, but not mounted"
echo "WAITED"
kill -KILL "$(systemctl show -P MainPID "$unit")"
eventually is NRestarts "$(($(systemctl show -P NRestarts "$unit") + 1))" || fail "not started again"
eventually systemctl -q is-active "$unit" || fail "not active again after kill -9"
[[ -d /srv/vm/a/snapshots/s1 ]] || fail "the disk is not there after kill -9"
echo "RESTARTED"
systemctl stop "$unit" || fail "systemctl stop"
is Result success || fail "it does not end with success"
! mountpoint -q /srv/vm/a || fail "still mounted"
fvd check /srv/vm/a.fvd | grep -q 'closed cleanly' || fail "$(fvd check /srv/vm/a.fvd)"
echo "STOPPED"
unit=fvdfs@b
! systemctl start "$unit" 2>/dev/null || fail "starts with wrong usage"
sleep 6
is ActiveState failed && is NRestarts 0 || fail "wrong usage is tried again"
unit=fvdfs@a
systemctl start machine || fail "the machine does not start its disk"
eventually systemctl -q is-active "$unit" || fail "the machine runs without its disk"
journalctl -u "$unit" --no-pager | grep -q 'mounted at /srv/vm/a' || fail "nothing in the journal"
sleep 1
echo "SHUTTING DOWN"
TRIAL

timeout -k 10 300 script -qec "systemd-nspawn --quiet --register=no --keep-unit --directory=$root --bind=/dev/fuse \
  --property=DeviceAllow='/dev/fuse rwm' --boot systemd.log_target=console" "$work/console" </dev/null >/dev/null 2>&1 || true
# It leaves its control groups behind where no systemd looks after them; those that are in use stay.
for group in /sys/fs/cgroup/{,systemd,unified}/{payload,supervisor}; do
  [[ ! -d "$group" ]] || find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
done
[[ -s "$root/var/log/trial" ]] || grep -q 'Reached target' "$work/console" ||
  skip "systemd does not boot here: $(tail -n 3 "$work/console")"
cat "$root/var/log/trial"
for word in WAITED RESTARTED STOPPED 'SHUTTING DOWN'; do grep -qx "$word" "$root/var/log/trial" || fail "not: $word"; done
"$FVD_BINARY" check "$root/srv/vm/a.fvd" >"$work/check" || fail "the image is not consistent: $(<"$work/check")"
grep -q 'closed cleanly' "$work/check" || fail "shutting down does not close the image: $(<"$work/check")"
"$FVD_BINARY" convert "$root/srv/vm/a.fvd" "$work/raw" >/dev/null
[[ "$(head -c 4 "$work/raw")" == last ]] || fail "the image was taken from the machine before it had ended"
