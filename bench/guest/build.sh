#!/usr/bin/env bash
# bench/guest/build.sh DIR: makes in DIR a Debian 12 guest that has ZFS, for bench/guest/run.sh: root.img (ext4), vmlinux and
# initrd.img. As root, with debootstrap and e2fsprogs; ZFS's module is compiled in a chroot, which takes ten minutes. Does nothing
# when the guest is there.
set -euo pipefail
directory=${1:?usage: build.sh DIR}
mirror=${FVD_DEBIAN_MIRROR:-http://deb.debian.org/debian}
root=$directory/root
packages=(linux-image-cloud-amd64 linux-headers-cloud-amd64 zfs-dkms zfsutils-linux systemd-sysv udev kmod dbus
  qemu-utils qemu-system-common fio fuse3 python3 procps e2fsprogs util-linux fdisk lz4 psmisc
  libisal2 libfuse3-3 libspdlog1.10 libfmt9 libboost-program-options1.74.0)

[[ ! -e "$directory/ready" ]] || exit 0
((EUID == 0)) || { echo "building the guest takes root" >&2; exit 1; }
for tool in debootstrap mke2fs python3; do
  command -v "$tool" >/dev/null || { echo "there is no $tool: apt-get install debootstrap e2fsprogs python3" >&2; exit 1; }
done
[[ -d "$directory" ]] || mkdir -p "$directory"
exec 8>"$directory/lock"
flock 8
[[ ! -e "$directory/ready" ]] || exit 0

inside() {
  chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"
}

unmount() {
  for place in dev/pts dev sys proc; do
    if mountpoint -q "$root/$place"; then umount "$root/$place"; fi
  done
}

if [[ ! -e "$root/bootstrapped" ]]; then
  rm -rf "$root"
  debootstrap --variant=minbase --components=main,contrib bookworm "$root" "$mirror"
  touch "$root/bootstrapped"
fi
trap unmount EXIT
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --bind /dev "$root/dev"
mount -t devpts devpts "$root/dev/pts"

cat >"$root/etc/apt/sources.list" <<END
deb $mirror bookworm main contrib
deb $mirror bookworm-updates main contrib
deb ${mirror/%debian/debian-security} bookworm-security main contrib
END
# Nothing is to be started in the chroot, and the question about ZFS's licence is answered before it is asked.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
inside debconf-set-selections <<<'zfs-dkms zfs-dkms/note-incompatible-licenses note true'
inside apt-get update
inside apt-get install -y --no-install-recommends "${packages[@]}"
version=$(basename "$(echo "$root"/boot/vmlinuz-*-cloud-amd64)")
version=${version#vmlinuz-}
[[ -n "$(find "$root/lib/modules/$version" -name 'zfs.ko*')" ]] || inside dkms autoinstall -k "$version"
[[ -n "$(find "$root/lib/modules/$version" -name 'zfs.ko*')" ]] || { echo "ZFS's module was not built" >&2; exit 1; }
inside apt-get clean
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/lib/dkms/zfs/*/build

# What the guest does: the job that the host gives it on its third disk.
echo fvdfs-bench >"$root/etc/hostname"
printf '/dev/vda / ext4 defaults 0 1\n' >"$root/etc/fstab"
cat >"$root/etc/systemd/system/job.service" <<'END'
[Unit]
Description=The host's job
After=basic.target

[Service]
Type=oneshot
ExecStartPre=mkdir -p /job
ExecStartPre=tar -C /job -xf /dev/vdc
ExecStart=/job/job
ExecStopPost=systemctl --no-block poweroff
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0

[Install]
WantedBy=multi-user.target
END
inside systemctl enable job.service
inside systemctl mask serial-getty@ttyS0.service getty@tty1.service apt-daily.timer apt-daily-upgrade.timer \
  e2scrub_all.timer fstrim.timer dpkg-db-backup.timer systemd-networkd-wait-online.service

# Uncompressed, because a guest of a guest may take half a minute to unpack its kernel itself. What follows the kernel in the file
# is not LZ4's, hence its complaint.
start=$(LC_ALL=C grep -aobP -m 1 '\x02\x21\x4c\x18' "$root/boot/vmlinuz-$version" | head -n 1 | cut -d: -f1)
tail -c "+$((start + 1))" "$root/boot/vmlinuz-$version" | inside lz4 -dc 2>/dev/null >"$directory/vmlinux" || true
[[ "$(head -c 4 "$directory/vmlinux")" == $'\x7fELF' ]] || { echo "the kernel could not be unpacked" >&2; exit 1; }
cp "$root/boot/initrd.img-$version" "$directory/initrd.img"
unmount
trap - EXIT
rm -f "$directory/root.img"
mke2fs -q -t ext4 -d "$root" "$directory/root.img" 4G
rm -rf "$root"
touch "$directory/ready"
