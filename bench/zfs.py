#!/usr/bin/env python3
"""fvdfs beside qcow2 and ZFS on one machine that has all three, in turns: throughput, the first writes after a snapshot of a full
disk with the bytes that reach the device for each byte asked, and snapshot operations. Needs root, and a device (--device) that
is erased for the pool; --dir must lie on a device of its own too, or the bytes written count others'. guest/run.sh runs it in
a virtual machine."""
import contextlib
import pathlib
import subprocess
import sys

import after_snapshot
import cells
import disks
import rig
import zpool

CELLS = [
    "seq read 1M q16, direct, cold", "rand read 4k q16, direct, cold", "rand read 4k q1, direct, hot",
    "rand read 4k q16, direct, hot", "rand read 4k q16, buffered, hot", "seq write 1M q16, direct", "rand write 4k q1, direct",
    "rand write 4k q16, direct", "rand write 4k, fsync each", "rand write 4k, fdatasync each 32",
]
AFTER = [cell for cell in CELLS if cell.startswith("rand write")]
OURS = "fvdfs"


def arrange(options):
    """The disks: ours, qcow2's two kinds, and ZFS's."""
    kinds = [disks.Fvd, *([] if options.no_peer else disks.PEERS), *zpool.KINDS]
    return [kind(options.work, options.mib * rig.MIB) for kind in kinds]


def against(samples, key, others):
    """Ours over the best of some, the median of the rounds' ratios; a line for what is the best in a round."""
    rates = [[samples[key, name][number].rate for name in others] for number in range(len(samples[key, OURS]))]
    return rig.median(own.rate / max(found) for own, found in zip(samples[key, OURS], rates))


def throughput(targets, options):
    """Requests a second on a full disk; writes until all of it is on the device."""
    names = [target.name for target in targets]
    samples = {}
    for target in targets:
        rig.fill(target, target.size)
    for number in range(options.rounds):
        for cell in CELLS:
            if options.only and options.only not in cell:
                continue
            for target in targets[number % len(targets):] + targets[:number % len(targets)]:
                target.settle()
                writes = {"end_fsync": 1} if "write" in cell else {}
                samples.setdefault((cell, target.name), []).append(cells.measure(target, cell, options.seconds, **writes))
                target.cold = False
            print(f"{cell}: {[round(samples[cell, name][-1].rate) for name in names]}", file=sys.stderr, flush=True)
        print(f"throughput: round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    qcow2 = [name for name in names if name.startswith("qcow2")]
    zfs = [target.name for target in targets if isinstance(target, zpool.Zfs)]
    rows = []
    for cell in dict.fromkeys(cell for cell, _ in samples):
        row = {"work": cell} | {name: rig.median(one.rate for one in samples[cell, name]) for name in names}
        for label, others in (("fvdfs/best qcow2", qcow2), ("fvdfs/zvol 16k", zfs[:1]), ("fvdfs/best ZFS", zfs)):
            if others:
                row[label] = against(samples, cell, others)
        rows.append(row)
    summary = [{"ratio": column, "geometric mean": rig.geometric_mean([row[column] for row in rows]),
                "least": min(row[column] for row in rows), "where": min(rows, key=lambda row: row[column])["work"]}
               for column in rows[0] if "/" in column]
    return rows, summary


def first_writes(targets, options):
    samples = {}
    chosen = [cell for cell in AFTER if options.only in cell]
    for number in range(options.rounds):
        after_snapshot.one_round(targets, chosen, number, options.seconds, samples)
        print(f"after a snapshot: round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    rows = []
    for cell in chosen:
        for target in targets:
            before, after = (samples[target.name, cell, when] for when in ("before", "after"))
            rows.append({"work": cell, "target": target.name, "before": rig.median(one.rate for one in before),
                         "after": rig.median(one.rate for one in after),
                         "after/before": rig.median(b.rate / a.rate for a, b in zip(before, after)),
                         "fvdfs/this after": rig.median(a.rate / b.rate for a, b in zip(samples[OURS, cell, "after"], after)),
                         "bytes a byte before": rig.median_if_known(one.device for one in before),
                         "bytes a byte after": rig.median_if_known(one.device for one in after)})
    return rows


def command_ms(target, name):
    """A snapshot as a script takes it, by a command; None where there is none for a disk in use."""
    if not hasattr(target, "create_command"):
        return None
    return rig.milliseconds(lambda: rig.run(*target.create_command(name)))


def one_of_each(target, have, found):
    """Each operation once; what the disk holds and its snapshots are afterwards as before."""
    def note(what, value):
        found.setdefault((target.name, what), []).append(value)

    target.settle()
    rig.poke(target, 1)
    note("create", rig.milliseconds(lambda: target.create("probe")))
    rig.poke(target, 2)
    note("back", target.goto("probe"))
    if have:
        note("oldest", target.reach("s0"))
        if not isinstance(target, zpool.Zfs):
            target.goto("probe")
    rig.poke(target, 3)
    note("delete", rig.milliseconds(lambda: target.delete("probe")))
    rig.poke(target, 4)
    note("command", command_ms(target, "probe"))
    if hasattr(target, "create_command"):
        target.delete("probe")


def operations(options):
    """Milliseconds of each operation on a sparse disk that holds some data, with few and many snapshots."""
    kinds = [disks.Fvd, *([] if options.no_peer else [disks.Qcow2]), zpool.Volume16k, zpool.File128k]
    targets = [kind(options.work, options.gib * rig.GIB) for kind in kinds]
    have, rows = {target.name: 0 for target in targets}, []
    for target in targets:
        rig.fill(target, options.data * rig.MIB)
    for count in rig.numbers(options.counts):
        for target in list(targets):
            quick = target.careless() if isinstance(target, disks.Qcow2) else contextlib.nullcontext()
            with quick:
                have[target.name] = rig.add_snapshots(target, have[target.name], count, options.limit)
        found = {}
        for _ in range(options.rounds):
            for target in targets:
                one_of_each(target, have[target.name], found)
        for target in list(targets):
            def middle(what, name=target.name):
                return rig.median_if_known(found.get((name, what), [None]))
            rows.append({"target": target.name, "snapshots": have[target.name], "create ms": middle("create"),
                         "by a command ms": middle("command"), "back to the newest ms": middle("back"),
                         "to the oldest ms": middle("oldest"), "delete ms": middle("delete"),
                         "to the oldest, newer destroyed ms": None})
            if have[target.name] < count:  # too slow to make as many: no more of it
                targets.remove(target)
                target.destroy()
        rig.show(f"{count} snapshots", rows)  # at once, lest it be lost with what follows
    for target in targets:
        if isinstance(target, zpool.Zfs) and have[target.name]:
            rig.poke(target, 5)
            row = [row for row in rows if row["target"] == target.name][-1]
            row["to the oldest, newer destroyed ms"] = target.goto_destroying("s0")
        target.destroy()
    return rows


def more_about(options):
    """What the figures depend on beside what rig.machine() tells."""
    arc = int(pathlib.Path("/sys/module/zfs/parameters/zfs_arc_max").read_text(encoding="ascii"))
    return {"zfs": rig.first_line("modinfo", "-F", "version", "zfs"),
            "ZFS's cache at most": rig.size_text(arc) if arc else "its default, half of the memory",
            "processors, memory": f"{rig.os.cpu_count()}, {rig.machine(options.dir)['memory GiB']} GiB",
            "disk": options.disk, "disks' size": f"{options.mib} MiB",
            "operations on": f"{options.gib} GiB, {options.data} MiB of data in it"}


def main():
    options = rig.arguments(__doc__, device=("", "device that is erased for the pool"), mib=(768, "size of the disks"),
                            seconds=(0.7, "of each measurement"), rounds=(3, "rounds, of which the median counts"),
                            gib=(10, "virtual size for the operations"), data=(2048, "MiB of data there"),
                            counts=("0,100,1000", "numbers of snapshots there"),
                            limit=(40, "seconds that a disk may take to make them"), only=("", "cells whose name contains this"),
                            disk=("", "what the disk below is, for the report"),
                            parts=("operations,throughput,after", "what to measure"))
    if not options.device:
        sys.exit("--device is missing: a partition that may be erased")
    zpool.Zfs.pool = zpool.Pool(options.device)
    rig.atexit.register(zpool.Zfs.pool.destroy)  # before the disks are made, so after they are gone
    tables = []
    if "operations" in options.parts:
        tables.append(("operations", "Snapshot operations", operations(options)))
    if {"throughput", "after"} & set(options.parts.split(",")):
        targets = arrange(options)
        if "throughput" in options.parts:
            rows, summary = throughput(targets, options)
            tables += [("cells", "Requests a second", rows), ("summary", "Ratios", summary)]
        if "after" in options.parts:
            tables.append(("after", "Writes a second before and right after a snapshot of a full disk",
                           first_writes(targets, options)))
        for target in targets:
            target.destroy()
    tables.append(("setup", "Set-up", [more_about(options)]))
    rig.report(options, *tables)


if __name__ == "__main__":
    main()
