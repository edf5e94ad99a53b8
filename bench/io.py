#!/usr/bin/env python3
"""I/O side by side: fio on a file of the host, on fvdfs, and on qemu-storage-daemon's FUSE export of qcow2 (defaults, and
extended_l2=on,lazy_refcounts=on), interleaved. IOPS, and ratios of medians."""
import math

import rig

DIRECT = {"direct": 1}
BUFFERED = {"direct": 0}
SEQUENTIAL = {"bs": "1M"}
COLD, HOT = "cold", "hot"

# name: (fio's options, state of the page caches before)
CELLS = {
    "seq read 1M, cold": ({"rw": "read", **SEQUENTIAL, **BUFFERED}, COLD),
    "seq read 1M, hot": ({"rw": "read", **SEQUENTIAL, **BUFFERED}, HOT),
    "seq read 1M, direct": ({"rw": "read", **SEQUENTIAL, **DIRECT}, None),
    "seq read 1M q16, direct": ({"rw": "read", **SEQUENTIAL, **DIRECT, "iodepth": 16}, None),
    "rand read 4k, cold": ({"rw": "randread", **BUFFERED, "ioengine": "psync"}, COLD),
    "rand read 4k, hot": ({"rw": "randread", **BUFFERED, "ioengine": "psync"}, HOT),
    "rand read 4k, direct": ({"rw": "randread", **DIRECT}, None),
    "rand read 4k q16, direct": ({"rw": "randread", **DIRECT, "iodepth": 16}, None),
    "rand read 4k q16 x2, buffered": ({"rw": "randread", **BUFFERED, "iodepth": 16, "numjobs": 2}, HOT),
    "seq write 1M, buffered": ({"rw": "write", **SEQUENTIAL, **BUFFERED}, None),
    "seq write 1M, direct": ({"rw": "write", **SEQUENTIAL, **DIRECT}, None),
    "seq write 1M q16, direct": ({"rw": "write", **SEQUENTIAL, **DIRECT, "iodepth": 16}, None),
    "rand write 4k, buffered": ({"rw": "randwrite", **BUFFERED, "ioengine": "psync"}, None),
    "rand write 4k, direct": ({"rw": "randwrite", **DIRECT}, None),
    "rand write 4k q16, direct": ({"rw": "randwrite", **DIRECT, "iodepth": 16}, None),
    "mixed 70/30 4k q16, direct": ({"rw": "randrw", "rwmixread": 70, **DIRECT, "iodepth": 16}, None),
    "rand write 4k, fsync each": ({"rw": "randwrite", **BUFFERED, "ioengine": "psync", "fsync": 1}, None),
    "rand write 4k, fdatasync each 32": ({"rw": "randwrite", **BUFFERED, "ioengine": "psync", "fdatasync": 32}, None),
}


def measure(target, cell, seconds):
    options, cache = CELLS[cell]
    if cache is not None:
        rig.drop_from_cache(target.image)
        rig.drop_from_cache(target.disk)
    if cache == HOT:
        rig.run("dd", f"if={target.disk}", "of=/dev/null", "bs=1M")
    job = rig.fio(target, time_based=1, runtime=seconds, group_reporting=1, **options)
    return job["read"]["iops"] + job["write"]["iops"]


def main():
    options = rig.arguments(__doc__, gib=(2, "size of the disk"), seconds=(3, "of each measurement"),
                            rounds=(3, "rounds, of which the median counts"), only=("", "cells whose name contains this"))
    kinds = [rig.Raw] + rig.targets(options) + ([] if options.no_peer else [rig.Qcow2Ext])
    targets = [kind(options.work, options.gib * rig.GIB) for kind in kinds]
    for target in targets:
        rig.fill(target, target.size)
    samples = {}
    cells = [cell for cell in CELLS if options.only in cell]
    for _ in range(options.rounds):
        for cell in cells:
            for target in targets:
                samples.setdefault((cell, target.name), []).append(measure(target, cell, options.seconds))
    peers = [target.name for target in targets if isinstance(target, rig.Qcow2)]
    rows, gains = [], []
    for cell in cells:
        medians = {target.name: rig.median(samples[cell, target.name]) for target in targets}
        row = {"work": cell} | medians | {"fvdfs/raw": medians["fvdfs"] / medians["raw"]}
        if peers:
            row["fvdfs/best qcow2"] = medians["fvdfs"] / max(medians[name] for name in peers)
            gains.append(row["fvdfs/best qcow2"])
        rows.append(row)
    rig.report(options, f"IOPS on a full disk of {options.gib} GiB", rows)
    if gains:
        print(f"fvdfs/best qcow2: geometric mean {math.exp(sum(map(math.log, gains)) / len(gains)):.2f}, "
              f"least {min(gains):.2f}")
    for target in targets[1:]:
        print(f"{target.name}: resident {target.memory()[0]} KiB")


if __name__ == "__main__":
    main()
