#!/usr/bin/env bash
# The Debian packages on a clean Debian 12: they install, the programs run, a mount works, and after purging them nothing
# is left. Takes minutes and downloads a system, so it runs only where FVD_TEST_CHROOT is set:
#   FVD_TEST_CHROOT=1 ctest --test-dir build -R package_chroot --output-on-failure
# FVD_TEST_MIRROR names another mirror than deb.debian.org.
# ctest: TIMEOUT 1800 LABELS cli;slow;package
set -euo pipefail
: "${FVD_BUILD_DIR:?the build directory}"

skip() { echo "package_chroot: $*: skipped" && exit 77; }
PATH=$PATH:/usr/sbin:/sbin
[[ -n "${FVD_TEST_CHROOT-}" ]] || skip "FVD_TEST_CHROOT is not set (this takes minutes and downloads a Debian)"
((EUID == 0)) || skip "needs root for chroot"
for name in debootstrap cpack dpkg-deb dpkg-shlibdeps file; do command -v "$name" >/dev/null || skip "no $name"; done
if [[ "${1-}" != inside ]]; then
  unshare --mount --pid --fork true 2>/dev/null || skip "no mount namespaces here"
  # Whatever is started in there ends with it.
  exec unshare --mount --propagation private --pid --fork --kill-child bash "${BASH_SOURCE[0]}" inside
fi
. "$(dirname "${BASH_SOURCE[0]}")/../support/namespace.sh"

fail() {
  echo "package_chroot: $*" >&2
  exit 1
}

work=$(mktemp -d "${TMPDIR:-/var/tmp}/fvdfs-package.XXXXXX")
root=$work/root
clean_up() {
  local status=$?
  trap - EXIT
  set +e
  umount -l "$root/tmp/mnt" 2>/dev/null
  umount "$root/proc" 2>/dev/null
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 143' TERM INT HUP

(cd "$work" && cpack -G DEB --config "$FVD_BUILD_DIR/CPackConfig.cmake" -B "$work/packages") >"$work/log" 2>&1 ||
  { cat "$work/log" && fail "cpack"; }
debootstrap --variant=minbase bookworm "$root" "${FVD_TEST_MIRROR:-http://deb.debian.org/debian}" >"$work/log" 2>&1 ||
  { tail -n 5 "$work/log" && skip "debootstrap does not work here"; }
mount -t proc proc "$root/proc" 2>/dev/null || skip "no /proc can be mounted here"
mkdir "$root/packages"
cp "$work/packages"/*.deb "$root/packages/"
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }
logged() { "$@" </dev/null >"$work/log" 2>&1 || { tail -n 30 "$work/log" && fail "$*"; }; }

# What the packages need goes first, so that what is found afterwards is theirs.
for package in "$root"/packages/*.deb; do
  depends=$(dpkg-deb -f "$package" Depends | sed 's/libfvd0 ([^)]*), //')
  logged inside apt-get satisfy -y --no-install-recommends "$depends"
done
logged inside apt-get clean
files() { # All but what dpkg and apt themselves keep.
  (cd "$root" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./var/cache -o -path ./tmp \) -prune \
    -o -print | sort)
}
files >"$work/before"

logged inside sh -c 'dpkg -i /packages/*.deb'
[[ "$(inside dpkg-query -W -f '${db:Status-Status} ' fvdfs libfvd0 libfvd-dev)" == 'installed installed installed ' ]] ||
  fail "not all are installed"
inside ldconfig -p | grep libfvd.so.0 || fail "ldconfig does not know libfvd.so.0"
inside fvdfs --version
inside sh -ec 'cd /tmp; fvd create disk.fvd 1G; fvd snapshot create disk.fvd s1; fvd info disk.fvd; fvd check disk.fvd' ||
  fail "the tool does not work"
if inside sh -c 'test -c /dev/fuse || mknod /dev/fuse c 10 229; : <>/dev/fuse' 2>/dev/null; then
  inside sh -ec 'cd /tmp; mkdir mnt; mount -t fvdfs disk.fvd mnt -o pidfile=/tmp/pid; mkdir mnt/snapshots/s2
    umount mnt; for i in $(seq 1000); do [ -e pid ] || break; sleep 0.01; done; fvd tree disk.fvd' | tee "$work/tree"
  grep -q 's1->s2->(current-state)' "$work/tree" || fail "the mount does not work"
else
  echo "/dev/fuse cannot be opened here: no mount was tried"
fi
rm -rf "$root"/tmp/* "$root/dev/fuse"

logged inside dpkg --purge fvdfs libfvd-dev libfvd0
files >"$work/after"
diff "$work/before" "$work/after" || fail "purging leaves something behind, or takes what is not its own"
! inside dpkg-query -W fvdfs libfvd0 libfvd-dev >/dev/null 2>&1 || fail "dpkg still knows them"
