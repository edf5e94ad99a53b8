#!/usr/bin/env python3
"""Whether writes touch the reference counts: random 4 KiB writes on an image with many snapshots, the metrics before
and after, and every read and write of the image that strace saw; and whether the same writes cost the same bytes of metadata
with one snapshot as with many. Exit status 1 if a byte of the counts was touched, or the bytes differ."""
import glob
import re
import subprocess
import sys
import time

import disks
import rig

CALLS = "read,write,readv,writev,pread64,pwrite64,preadv,pwritev,preadv2,pwritev2,fallocate,copy_file_range,mmap"
CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\w+)")


def lines(trace):
    """The calls of all threads: strace writes one file for each, so that no call is torn apart by another's."""
    for name in glob.glob(f"{trace}.*"):
        with open(name, encoding="utf-8", errors="replace") as file:
            yield from file


def touched(trace, image, region):
    """(calls on the image, bytes of the region that they touched). A call without an offset counts as touching all."""
    calls = inside = 0
    for line in lines(trace):
        call = CALL.match(line)
        if not call or f"<{image}>" not in call[2]:
            continue
        name, words, result = call[1], call[2].split(", "), int(call[3], 0)
        if name.startswith(("pread", "pwrite")):
            # preadv2 and pwritev2 have flags after the offset.
            offset, length = int(words[-2 if name.endswith("2") else -1], 0), max(result, 0)
        elif name == "fallocate":
            offset, length = int(words[-2]), int(words[-1])
        else:
            offset, length = region[0], region[1] - region[0]
        calls += 1
        inside += max(0, min(offset + length, region[1]) - max(offset, region[0]))
    return calls, inside


def bytes_by_structure(before, after):
    return {key.replace("fvd_", "").replace("_bytes_total", "").replace("structure=", "").replace('"', ""):
            after[key] - before[key] for key in sorted(after) if key.startswith(("fvd_read_bytes", "fvd_write_bytes"))}


def traced(options):
    """Random writes under strace on a disk with many snapshots."""
    target = disks.Fvd(options.work, options.gib * rig.GIB)
    rig.fill(target, options.gib * rig.GIB // 10)
    rig.add_snapshots(target, 0, options.snapshots)
    region = target.count_region()
    before = target.metrics()
    trace = f"{options.work}/trace"
    with subprocess.Popen(["strace", "-ff", "-y", "-q", "-e", f"trace={CALLS}", "-s", "0", "-o", trace,
                           "-p", str(target.pid)]) as strace:
        try:
            time.sleep(1)
            result = rig.fio(target, iodepth=16, io_size=options.writes * 4096, fsync=1000)["write"]
            time.sleep(2)  # the commit of the last second
        finally:
            strace.terminate()
    after = target.metrics()
    if region != target.count_region():
        sys.exit("the reference counts moved")
    calls, inside = touched(trace, str(target.image), region)
    target.stop()
    target.check()
    target.destroy()
    return {"snapshots": options.snapshots, "writes": result["total_ios"], "counts": region[1] - region[0],
            "calls on the image": calls, "bytes of the counts in them": inside} | bytes_by_structure(before, after)


def same_writes(options, snapshots):
    """The same synced writes, the first after a snapshot, on a disk that has so many. A commit follows each, so that the
    bytes do not depend on when the daemon's own commits come, and they are too few for a checkpoint, which goes on beside them."""
    target = disks.Fvd(options.work, rig.GIB)
    rig.fill(target, target.size)
    rig.add_snapshots(target, 0, snapshots - 1)
    rig.fill(target, target.size)
    target.create("last")
    before = target.metrics()
    rig.fio(target, direct=0, ioengine="psync", fsync=1, randrepeat=1, norandommap=0, io_size=options.synced * 4096)
    row = {"snapshots": snapshots, "writes": options.synced} | bytes_by_structure(before, target.metrics())
    target.destroy()
    return row


def differ(rows):
    """By more than a commit or two: where the image file grows by its 64 MiB, a commit goes without its data, a page less."""
    return any(abs(rows[0][key] - rows[1][key]) > rows[0][key] // 50 for key in rows[0] if key.startswith("write{"))


def main():
    options = rig.arguments(__doc__, gib=(10, "size of the disk"), snapshots=(1000, "snapshots"),
                            writes=(100000, "random writes under strace"), synced=(900, "writes with a sync after each"))
    row = traced(options)
    same = [same_writes(options, 1), same_writes(options, options.snapshots)]
    rig.report(options, ("touched", "Bytes of each structure that random writes touch", [row]),
               ("same", "Bytes of each structure for the same writes, each synced", same))
    if row["bytes of the counts in them"] or row["read{refcounts}"] or row["write{refcounts}"] or (
            row["calls on the image"] < row["writes"]):
        sys.exit("FAILED: the counts were touched, or strace did not see the writes")
    if differ(same):
        sys.exit("FAILED: the number of snapshots changes what the same writes cost")


if __name__ == "__main__":
    main()
