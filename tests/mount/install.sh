#!/usr/bin/env bash
# Mounts by the name of the installed program: `mount -t fuse.fvdfs`, `mount -t fvdfs` and lines of fstab. In a mount
# namespace of its own, in which an installation into an empty prefix appears as /usr/local.
set -euo pipefail
: "${FVD_BUILD_DIR:?the build directory}"

((EUID == 0)) || { echo "install: needs root for mount(8): skipped" && exit 77; }
if [[ "${1-}" != inside ]]; then
  unshare --mount true 2>/dev/null || { echo "install: no mount namespaces here: skipped" && exit 77; }
  exec timeout 60 unshare --mount --propagation private bash "${BASH_SOURCE[0]}" inside
fi
. "$(dirname "${BASH_SOURCE[0]}")/../support/namespace.sh"

fail() {
  echo "install: $*" >&2
  exit 1
}

work=$(mktemp -d)
wait_for_end() { for _ in {1..500}; do [[ -e "$work/pid" ]] || return 0 && sleep 0.02; done; }
clean_up() {
  umount "$work/dir" 2>/dev/null && wait_for_end
  umount /usr/local 2>/dev/null || true
  umount /usr/sbin 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
# What is mounted at $work/dir: type, source and options, as the kernel tells.
mounted() { awk -v dir="$work/dir" '$2 == dir { print $3, $1, "," $4 "," }' /proc/self/mounts; }

cmake --install "$FVD_BUILD_DIR" --prefix "$work/prefix" >"$work/log" || { cat "$work/log" && fail "cmake --install"; }
mount --bind "$work/prefix" /usr/local
mkdir "$work/dir"
/usr/local/bin/fvd create "$work/disk.fvd" 16M >/dev/null

mount -t fuse.fvdfs "$work/disk.fvd" "$work/dir" -o "nosuid,noatime,allow_other,pidfile=$work/pid"
[[ "$(mounted)" == "fuse.fvdfs $work/disk.fvd ,rw,"*",noatime,"*",allow_other,"* ]] || fail "mounted is: $(mounted)"
printf one | dd of="$work/dir/current-state" conv=notrunc status=none
mkdir "$work/dir/snapshots/s1"
umount "$work/dir"
wait_for_end

echo "$work/disk.fvd $work/dir fuse.fvdfs noauto,ro,user,_netdev,x-systemd.automount,pidfile=$work/pid 0 0" >"$work/fstab"
mount --fstab "$work/fstab" "$work/dir"
[[ "$(mounted)" == "fuse.fvdfs $work/disk.fvd ,ro,"* ]] || fail "mounted is: $(mounted)"
[[ "$(head -c 3 "$work/dir/snapshots/s1/disk.raw")" == one ]] || fail "the snapshot holds something else"
umount "$work/dir"
wait_for_end
[[ ! -e "$work/pid" ]] || fail "the daemon does not end"

# mount(8) looks for mount.fvdfs in /sbin only.
[[ "$(readlink /usr/local/sbin/mount.fvdfs)" == ../bin/fvdfs ]] || fail "no sbin/mount.fvdfs"
mkdir "$work/sbin"
cp -a /usr/sbin/mount.fuse* "$work/sbin/"
ln -s /usr/local/sbin/mount.fvdfs "$work/sbin/"
mount --bind "$work/sbin" /usr/sbin
mount -t fvdfs -v -f "$work/disk.fvd" "$work/dir" >/dev/null || fail "a fake mount fails"
[[ -z "$(mounted)" ]] || fail "a fake mount mounts"
mount -t fvdfs "$work/disk.fvd" "$work/dir" -o "nodev,noatime,x-mark=1,pidfile=$work/pid" || fail "mount -t fvdfs"
[[ "$(mounted)" == "fuse.fvdfs $work/disk.fvd ,rw,"*",nodev,noatime,"* ]] || fail "mounted is: $(mounted)"
umount "$work/dir"
wait_for_end
echo "$work/disk.fvd $work/dir fvdfs ro,noauto,nofail,_netdev,pidfile=$work/pid 0 0" >"$work/fstab"
mount --fstab "$work/fstab" "$work/dir" || fail "fstab with the type fvdfs"
[[ "$(mounted)" == "fuse.fvdfs $work/disk.fvd ,ro,"* ]] || fail "mounted is: $(mounted)"
umount "$work/dir"
wait_for_end
! mount -t fvdfs "$work/none.fvd" "$work/dir" 2>"$work/log" || fail "an image that is not there is mounted"
grep -q "none.fvd.*No such file" "$work/log" || fail "mount says: $(<"$work/log")"
/usr/local/bin/fvd check "$work/disk.fvd" >/dev/null || fail "the image is not consistent"
