#!/usr/bin/env bash
# Every benchmark runs, with tiny sizes, and the page has all its figures. What they are does not matter here.
# ctest: TIMEOUT 600 LABELS bench;slow
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

for tool in fio qemu-storage-daemon qemu-img fusermount3 python3; do
  command -v "$tool" >/dev/null || { echo "skipped: there is no $tool"; exit 77; }
done
[[ -w /dev/fuse ]] || { echo "skipped: /dev/fuse cannot be used"; exit 77; }

# In memory where that can do O_DIRECT, which is part of what is measured: on a disk, removing sparse images may take longer
# than all the rest.
work=
trap '[[ -z "$work" ]] || rm -rf "$work"' EXIT
for place in /dev/shm /var/tmp; do
  work=$(mktemp -d "$place/fvdfs-smoke.XXXXXX") || continue
  (($(df --output=avail -B1M "$work" | tail -n 1) >= 2048)) &&
    dd if=/dev/zero of="$work/probe" bs=4096 count=1 oflag=direct status=none 2>/dev/null && break
  rm -rf "$work"
  work=
done
[[ -n "$work" ]] || { echo "skipped: neither /dev/shm nor /var/tmp has O_DIRECT and 2 GiB of space"; exit 77; }

mkdir "$work/docs"
python3 bench/run.py --smoke --no-build --dir "$work" --results "$work/results" --docs "$work/docs"

page=$work/docs/performance.md
for section in Marks Throughput 'Right after a snapshot' 'Snapshot after snapshot' 'Snapshot operations' 'How costs grow'; do
  grep -q "^## $section" "$page" || { echo "no section '$section' in the page"; exit 1; }
done
for plot in throughput after-snapshot often snapshots scaling-virtual-size scaling-snapshots scaling-percent-overwritten; do
  python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$work/docs/performance-$plot.svg"
  grep -q "performance-$plot.svg" "$page" || { echo "no plot '$plot' in the page"; exit 1; }
done
left=$(grep -c fvdfs-smoke /proc/mounts || true)
((left == 0)) || { echo "$left mounts are left"; exit 1; }
