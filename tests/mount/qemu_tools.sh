#!/usr/bin/env bash
# qemu-img and qemu-io on current-state and on disk.raw do what they do on a plain raw file: every step is done to both,
# and the results compared.
# ctest: TIMEOUT 300
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../support/qemu/rig.sh"
need qemu-io cmp

# A size that is a multiple of 512 and of nothing larger, which cache=none opens only if it finds the alignment.
size=$((64 * 1024 * 1024 + 512))
plain=$work/plain.raw
mount_image "$size"
truncate -s "$size" "$plain"

step() { echo "- $*"; }

quiet() { # quiet COMMAND...: its output only if it fails.
  timeout 120 "$@" >"$work/output" 2>&1 || fail "$*: status $? $(<"$work/output")"
}

refused() { # refused COMMAND...
  if timeout 120 "$@" >"$work/output" 2>&1; then fail "$*: should have failed"; fi
}

same() { # same FILE [FILE]: equal bytes, both for qemu-img and for the page cache.
  quiet qemu-img compare -f raw -F raw "$1" "${2:-$plain}"
  quiet cmp "$1" "${2:-$plain}"
}

# io OPTIONS COMMAND...: qemu-io on current-state with OPTIONS, and the same commands on the plain file. qemu-io reports
# failed commands, and patterns that do not match, in its output too.
io() {
  local options=$1 command arguments=()
  shift
  for command in "$@"; do arguments+=(-c "$command"); done
  # shellcheck disable=SC2086 # options are words
  quiet qemu-io -f raw $options "${arguments[@]}" "$current"
  ! grep -qiE 'failed|error|invalid' "$work/output" || fail "qemu-io $options $*: $(<"$work/output")"
  quiet qemu-io -f raw -t writeback -d unmap "${arguments[@]}" "$plain"
}

step "info"
for state in "$current" "$plain"; do
  qemu-img info --output=json -f raw "$state" | grep '"virtual-size"' >"$work/info.${state##*/}"
done
cmp "$work/info.current-state" "$work/info.plain.raw" || fail "qemu-img info: $(<"$work/info.current-state")"

round=0
for options in "-t none -i native" "-t none -i io_uring" "-t none -i threads" "-t writeback -i threads" \
  "-t writeback -i io_uring" "-t writethrough -i threads"; do
  round=$((round + 1))
  step "qemu-io $options"
  quiet mkdir "$snapshots/before$round"
  cp --sparse=always "$plain" "$work/before$round.raw"
  base=$((round * 8)) # MiB; each round over its own and the end of the last one's
  io "$options -d unmap" "write -P $((round + 16)) $((base - 1))M 3M" "write -P $((round + 32)) $((base + 3))M 4k" \
    "write -P $((round + 48)) $((base * 1048576 + 512)) 512" "write -P 7 $((base * 1048576 + 5 * 4096 + 1024)) 11264" \
    "write -P 9 $((base * 1048576 + 777777)) 33333" "write -P 5 $((size - 512)) 512" flush \
    "read -P $((round + 16)) $((base - 1))M 512k" "read -P 9 $((base * 1048576 + 777777)) 33333" \
    "read -P 5 $((size - 512)) 512"
  same "$current"
  io "$options -d unmap" "write -z $((base))M 64k" "write -z -u $((base * 1048576 + 131072)) 65536" \
    "discard $((base + 1))M 1M" "write -z $((base * 1048576 + 262144 + 512)) 1024" "read -P 0 $((base))M 64k" flush
  # A raw file need not read as zeros after discard, but this one and the plain one do.
  io "$options" "aio_write -P 66 $((base + 4))M 64k" "aio_write -P 67 $((base + 5))M 64k" aio_flush \
    "read -P 66 $((base + 4))M 64k" "read -P 67 $((base + 5))M 64k"
  same "$current"
  same "$snapshots/before$round/disk.raw" "$work/before$round.raw"
done
quiet mkdir "$snapshots/end"

step "map: the same extents hold data, in whole blocks"
map() { # Blocks of 4 KiB with data, by number.
  qemu-img map --output=json -f raw "$1" | tr '{' '\n' | sed -n 's/.*"start": \([0-9]*\), "length": \([0-9]*\),.*"data": true.*/\1 \2/p' |
    awk '{ for (b = int($1 / 4096); b * 4096 < $1 + $2; b++) print b }' | sort -u
}
map "$current" >"$work/map.current"
map "$snapshots/end/disk.raw" >"$work/map.end"
cmp "$work/map.current" "$work/map.end" || fail "current-state and its snapshot have different maps"
[[ -s "$work/map.current" ]] || fail "the map of current-state has no data"
# What holds other bytes than zeros must be data; what is data need not.
cp --sparse=never "$plain" "$work/dense.raw"
fallocate --dig-holes "$work/dense.raw"
map "$work/dense.raw" >"$work/map.dense"
[[ -z "$(comm -13 "$work/map.current" "$work/map.dense")" ]] || fail "qemu-img map shows holes where data is"
(($(wc -l <"$work/map.current") * 4096 < size * 3 / 4)) || fail "qemu-img map shows no holes to speak of"

step "convert to raw and qcow2, from current-state and from disk.raw"
for state in "$current" "$snapshots/end/disk.raw"; do
  quiet qemu-img convert -f raw -O raw "$state" "$work/copy.raw"
  same "$work/copy.raw"
  # 512-byte blocks of the copy's host file system count in du, a few of its own besides.
  (($(du -k "$work/copy.raw" | cut -f 1) <= $(du -k "$plain" | cut -f 1) + 4096)) || fail "the copy is not sparse"
  quiet qemu-img convert -f raw -O qcow2 "$state" "$work/copy.qcow2"
  quiet qemu-img compare -f qcow2 -F raw "$work/copy.qcow2" "$plain"
  quiet qemu-img convert -t none -T none -f raw -O raw "$state" "$work/copy.raw"
  same "$work/copy.raw"
done

step "a snapshot as the backing file of a qcow2"
quiet qemu-img create -f qcow2 -b "$snapshots/end/disk.raw" -F raw "$work/overlay.qcow2"
quiet qemu-io -f qcow2 -c "write -P 1 0 64k" -c "read -P 5 $((size - 512)) 512" "$work/overlay.qcow2"
refused qemu-io -f raw -c "write 0 4k" "$snapshots/end/disk.raw"
same "$snapshots/end/disk.raw"

step "convert -n -C into current-state shares chunks with the snapshot"
io "-t none -i native" "write -P 77 8M 24M" flush
quiet mkdir "$snapshots/whole"
io "-t none -i native" "write -P 99 8M 24M" flush
written=$(metric 'fvd_write_bytes_total{structure="data"}')
quiet qemu-img convert -n -C -f raw -O raw "$snapshots/whole/disk.raw" "$current"
quiet cmp "$current" "$snapshots/whole/disk.raw"
written=$(($(metric 'fvd_write_bytes_total{structure="data"}') - written))
# The 24 MiB are shared; what lies around in less than whole chunks is copied.
((written < 12 * 1048576)) || fail "convert -C wrote $written bytes of data"

step "convert -n from a plain file and from a qcow2 into current-state"
io "-t none -i native" "write -P 98 0 $((size / 2))" flush
quiet qemu-img convert -n -f raw -O raw "$work/copy.raw" "$current"
quiet cmp "$current" "$work/copy.raw"
io "-t none -i native" "write -P 97 0 $((size / 2))" flush
quiet qemu-img convert -n -t none -f qcow2 -O raw "$work/copy.qcow2" "$current"
quiet cmp "$current" "$work/copy.raw"

step "convert without -n would cut the disk to nothing first, and is refused"
refused qemu-img convert -f raw -O raw "$work/before3.raw" "$current"
quiet cmp "$current" "$work/copy.raw"
quiet qemu-img convert -n -f raw -O raw "$work/before3.raw" "$current"
same "$current" "$work/before3.raw"
for ((i = 1; i <= round; i++)); do same "$snapshots/before$i/disk.raw" "$work/before$i.raw"; done

step "a disk in use is locked"
if command -v qemu-system-x86_64 >/dev/null; then
  mkfifo "$work/monitor"
  exec 8<>"$work/monitor"
  timeout 200 qemu-system-x86_64 -accel tcg -S -nodefaults -display none -monitor stdio -device virtio-blk-pci,drive=disk \
    -drive file="$current",format=raw,if=none,id=disk,cache=none,aio=native <"$work/monitor" >"$work/machine" 2>&1 &
  guest=$!
  # It says hello before it has locked the disk, and answers after.
  echo 'info status' >&8
  for ((i = 0; i < 600; i++)); do
    ! grep -q 'VM status' "$work/machine" || break
    kill -0 "$guest" 2>/dev/null || fail "the machine does not start: $(<"$work/machine")"
    sleep 0.1
  done
  for command in "qemu-io -f raw -c quit" "qemu-img resize -f raw" "qemu-img convert -n -f raw -O raw $work/copy.raw"; do
    after=''
    [[ "$command" != *resize* ]] || after=+1M
    # shellcheck disable=SC2086 # words
    refused $command "$current" $after
    grep -q 'lock' "$work/output" || fail "$command: should tell of the lock: $(<"$work/output")"
  done
  quiet qemu-img info -U -f raw "$current"
  quiet qemu-img convert -f raw -O raw "$snapshots/end/disk.raw" "$work/copy.raw"
  refused mv "$snapshots/end" "$snapshots/current-state"
  grep -q 'busy' "$work/output" || fail "going back under a writer should be EBUSY: $(<"$work/output")"
  echo quit >&8
  exec 8>&-
  wait "$guest" || fail "the machine ended with status $?"
  guest=''
fi
quiet qemu-img resize -f raw "$current" +1M
[[ "$(stat -c %s "$current")" == $((size + 1048576)) ]] || fail "resize: $(stat -c %s "$current") bytes"
go_to end
quiet cmp "$current" "$snapshots/end/disk.raw"
check_image
