#!/usr/bin/env bash
# Measures fvdfs beside qcow2 and ZFS in a virtual machine that has all three, and writes the section "Beside ZFS" of
# docs/performance.md. The guest is built once (build.sh) and kept. README.md of bench says more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

usage() {
  cat <<'END'
usage: bench/guest/run.sh [OPTION]... [-- ARGUMENT-OF-zfs.py...]
  --cache DIR      where the guest is kept, 4 GiB   (default: ${XDG_CACHE_HOME:-~/.cache}/fvdfs-bench)
  --dir DIR        where the data disk goes, 18 GiB (default: /var/tmp)
  --build DIR      fvdfs's build directory          (default: build)
  --results DIR    where zfs.json goes              (default: bench-results-zfs in the build directory)
  --docs DIR       where performance.md is          (default: docs)
  --accel NAME     kvm or tcg                       (default: kvm where it can be used)
  --minutes N      after which it is given up       (default: 40)
  --size GIB       of the data disk                 (default: 18)
  --job FILE       runs a script of yours in the guest instead, and writes no page
END
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/fvdfs-bench dir=/var/tmp build=${FVD_BUILD_DIR:-build} results='' docs=docs accel='' minutes=40 job=''
memory=8 size=18
while (($#)); do
  case $1 in
    --cache) cache=$2 ;;
    --dir) dir=$2 ;;
    --build) build=$2 ;;
    --results) results=$2 ;;
    --docs) docs=$2 ;;
    --accel) accel=$2 ;;
    --minutes) minutes=$2 ;;
    --size) size=$2 ;;
    --job) job=$2 ;;
    --) shift; break ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift 2
done
results=${results:-$build/bench-results-zfs}
# A nested KVM may not know the capabilities that it passes on.
cpu=host,arch-capabilities=off
[[ -n "$accel" ]] || { if [[ -w /dev/kvm ]]; then accel=kvm; else accel=tcg,thread=multi; fi; }
[[ "$accel" == kvm* ]] || cpu=max

for program in fvdfs fvd; do
  [[ -x "$build/$program" ]] || { echo "there is no $build/$program: build first, or say --build" >&2; exit 1; }
done
command -v qemu-system-x86_64 >/dev/null || { echo "there is no qemu-system-x86_64: apt-get install qemu-system-x86" >&2; exit 1; }
bench/guest/build.sh "$cache"

work=$(mktemp -d "$dir/fvdfs-zfs.XXXXXX")
guest=
# shellcheck disable=SC2317 # the trap calls it
finish() {
  [[ -z "$guest" ]] || kill "$guest" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

# Written once, so that no request to it makes the host allocate.
echo "writing the data disk"
dd if=/dev/zero of="$work/data.img" bs=4M count=$((size * 256)) oflag=direct status=none

mkdir "$work/job"
mkdir "$work/job/build"
cp -r bench "$work/job/bench"
cp "$build/fvdfs" "$build/fvd" "$work/job/build"
strip -g "$work/job/build/fvdfs" "$work/job/build/fvd" 2>/dev/null || true
if [[ -n "$job" ]]; then
  cp "$job" "$work/job/job"
else
  {
    echo '#!/bin/bash'
    echo "export FVD_COMMIT=$(git describe --always --dirty 2>/dev/null)"
    printf 'exec /job/bench/guest/inside.sh --disk %q' "virtio, a file of the host's ext4 by O_DIRECT, $accel"
    (($# == 0)) || printf ' %q' "$@"
    echo
  } >"$work/job/job"
fi
chmod 755 "$work/job/job"
tar -C "$work/job" -cf "$work/job.tar" .

echo "starting the guest ($accel)"
timeout -k 10 "${minutes}m" qemu-system-x86_64 -accel "$accel" -cpu "$cpu" -machine q35 -smp 2 \
  -m "${memory}G" -nodefaults -display none -no-reboot -serial stdio \
  -kernel "$cache/vmlinux" -initrd "$cache/initrd.img" \
  -append "root=/dev/vda rw console=ttyS0 quiet panic=-1" \
  -drive "file=$cache/root.img,format=raw,if=none,id=root,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=root \
  -drive "file=$work/data.img,format=raw,if=none,id=data,cache=none,aio=native" \
  -object iothread,id=io -device virtio-blk-pci,drive=data,iothread=io \
  -drive "file=$work/job.tar,format=raw,if=none,id=job,readonly=on" -device virtio-blk-pci,drive=job \
  -device virtio-rng-pci -device virtio-serial-pci \
  -chardev "file,id=results,path=$work/zfs.json" -device virtserialport,chardev=results,name=results </dev/null &
guest=$!
wait "$guest" || { echo "qemu: status $?" >&2; exit 1; }
guest=
[[ -z "$job" ]] || exit 0
[[ -s "$work/zfs.json" ]] || { echo "the guest gave no results: see its console above" >&2; exit 1; }
mkdir -p "$results"
cp "$work/zfs.json" "$results/zfs.json"
python3 bench/report.py "$results" --docs "$docs"
