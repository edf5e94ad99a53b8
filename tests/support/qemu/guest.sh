# shellcheck shell=bash
# A small Linux for a virtual machine: Debian's kernel for clouds and an initramfs of busybox and guest_init.sh. Source
# it after rig.sh.

need qemu-system-x86_64 busybox cpio gzip
guest_support=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# find_kernel: sets $kernel and $modules, from the directory that FVD_GUEST_KERNEL names or from this system.
find_kernel() {
  local root candidate version
  for root in "${FVD_GUEST_KERNEL:-}" ''; do
    for candidate in "$root"/boot/vmlinuz-*-cloud-amd64; do
      version=${candidate##*/vmlinuz-}
      if [[ -r "$candidate" && -d "$root/lib/modules/$version" ]]; then
        kernel=$candidate modules=$root/lib/modules/$version
        return 0
      fi
    done
  done
  skip "no kernel linux-image-cloud-amd64 that can be read (FVD_GUEST_KERNEL may name a directory with one)"
}

# build_initramfs [PROGRAM]...: sets $initramfs. Modules are loaded in this order; what the kernel has built in has no
# file. The programs are there too, with the libraries that they need.
build_initramfs() {
  local tree=$work/initramfs name file
  ! ldd "$(command -v busybox)" >/dev/null 2>&1 || skip "busybox is not linked statically (package busybox-static)"
  mkdir -p "$tree"/{bin,dev,proc,sys,mnt,modules}
  cp "$(command -v busybox)" "$tree/bin/busybox"
  cp "$guest_support/guest_init.sh" "$tree/init"
  chmod 755 "$tree/init"
  for name in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk \
    virtio_console \
    crc16 mbcache jbd2 crc32c_generic libcrc32c ext4; do
    file=$(find "$modules/kernel" -name "$name.ko" -print -quit)
    [[ -n "$file" ]] || continue
    cp "$file" "$tree/modules/"
    echo "$name.ko" >>"$tree/modules/order"
  done
  for name in "$@"; do
    cp "$(command -v "$name")" "$tree/bin/"
    for file in $(ldd "$(command -v "$name")" | grep -o '/[^ ]*'); do
      [[ -e "$tree$file" ]] || install -D "$file" "$tree$file"
    done
  done
  initramfs=$work/initramfs.gz
  (cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$initramfs"
}

# find_accelerator: sets $accelerator: KVM where a guest boots with it within a few seconds (one that is itself nested may
# not, although it starts), else emulation.
find_accelerator() {
  accelerator=tcg
  [[ -w /dev/kvm ]] || return 0
  timeout -k 5 10 qemu-system-x86_64 -accel kvm -m 256 -no-reboot -nodefaults -display none -kernel "$kernel" \
    -initrd "$initramfs" -append "console=ttyS0 quiet panic=-1 fvd_mode=probe" -serial stdio </dev/null 2>/dev/null |
    grep -qa ALIVE && accelerator=kvm || true
}

# guest_start MODE DRIVE-OPTIONS [QEMU-ARGUMENT]...: boots on current-state, MODE as in guest_init.sh; its console is $console, and what is
# written to descriptor 9 is typed on it.
guest_start() {
  local mode=$1 options=$2
  shift 2
  console=$work/console
  rm -f "$console" "$work/keyboard"
  mkfifo "$work/keyboard"
  exec 9<>"$work/keyboard"
  timeout -k 5 200 qemu-system-x86_64 -accel "$accelerator" -m 256 -no-reboot -nodefaults -display none \
    -kernel "$kernel" -initrd "$initramfs" -append "console=ttyS0 quiet panic=-1 fvd_mode=$mode" -serial stdio \
    -drive "file=$current,format=raw,if=none,id=disk,$options" -device virtio-blk-pci,drive=disk "$@" \
    <"$work/keyboard" >"$console" 2>"$work/qemu.log" &
  guest=$!
}

guest_failed() {
  tail -n 40 "$console" "$work/qemu.log" >&2
  fail "$*"
}

# guest_expect WORD COUNT: waits until the console has at least COUNT lines that begin with WORD.
guest_expect() {
  local tries
  for ((tries = 0; tries < 1500; tries++)); do
    (($(guest_said "$1" | wc -l) >= $2)) && return 0
    kill -0 "$guest" 2>/dev/null || guest_failed "the guest ended before it said $1 $2 times"
    sleep 0.1
  done
  guest_failed "the guest did not say $1 $2 times"
}

guest_said() { tr -d '\r' <"$console" | { grep -a "^$1" || true; }; } # guest_said WORD: those lines.

guest_wait() { # Waits until the guest has powered itself off.
  local status=0
  wait "$guest" || status=$?
  guest=''
  exec 9>&-
  ((status == 0)) || guest_failed "qemu ended with status $status"
}
