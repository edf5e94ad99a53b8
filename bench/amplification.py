#!/usr/bin/env python3
"""The price of the first writes after a snapshot: bytes written to the image per byte asked, and the rate after over
the rate before, for 4 KiB random writes on a full disk."""
import rig

JOBS = {"q1": {"iodepth": 1}, "q16": {"iodepth": 16}, "fdatasync each 32": {"iodepth": 1, "fdatasync": 32}}


def measure(target, job, seconds):
    """Rate of the job, and the bytes written for each byte asked (by the daemon's calls, to storage, by metrics)."""
    calls, storage = target.written()
    before = target.metrics() if isinstance(target, rig.Fvd) else None
    result = rig.fio(target, time_based=1, runtime=seconds, end_fsync=1, **JOBS[job])["write"]
    asked = result["io_bytes"]
    calls_after, storage_after = target.written()
    by_metrics = None
    if before is not None:
        after = target.metrics()
        by_metrics = sum(after[key] - before[key] for key in after if key.startswith("fvd_write_bytes")) / asked
    # /dev/fuse's own replies are write calls too, so `calls` overstates: 16 bytes of reply for a write of 4096.
    return result["iops"], (storage_after - storage) / asked, (calls_after - calls) / asked, by_metrics


def main():
    options = rig.arguments(__doc__, gib=(4, "size of the disk"), seconds=(5, "of each measurement"),
                            rounds=(3, "rounds, of which the median counts"))
    samples = {}
    for _ in range(options.rounds):
        for kind in rig.targets(options):
            target = kind(options.work, options.gib * rig.GIB)
            rig.fill(target, target.size)
            for job in JOBS:
                samples.setdefault((kind.name, job, "before"), []).append(measure(target, job, options.seconds))
            target.create("full")
            for job in JOBS:
                target.goto("full")  # so that each job writes for the first time since a snapshot of a full disk
                samples.setdefault((kind.name, job, "after"), []).append(measure(target, job, options.seconds))
            target.destroy()
    rows = []
    for (name, job, when), values in samples.items():
        if when != "after":
            continue
        before = samples[name, job, "before"]
        rows.append({
            "target": name, "job": job,
            "IOPS before": rig.median(v[0] for v in before), "IOPS after": rig.median(v[0] for v in values),
            "after/before": rig.median(a[0] / b[0] for a, b in zip(values, before)),
            "storage bytes/byte": rig.median(v[1] for v in values),
            "call bytes/byte": rig.median(v[2] for v in values),
            "metrics bytes/byte": None if values[0][3] is None else rig.median(v[3] for v in values),
        })
    rig.report(options, f"4 KiB random writes on a full disk of {options.gib} GiB, right after a snapshot", rows)


if __name__ == "__main__":
    main()
