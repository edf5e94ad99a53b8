#!/usr/bin/env python3
"""Snapshot operations on disks of several sizes with few and many snapshots: the time of create, goto and delete on a quiet
disk and beside a 4 KiB O_DIRECT writer at full speed, what that writer and one that takes its time feel of them (beside the
same writes into the page cache of a file of the host), the time from the daemon's start to a usable mount, and its memory.
Each number of snapshots has a disk of its own, so that nothing but the number differs."""
import atexit
import os
import subprocess
import sys
import time

import disks
import rig

PACE = 4000  # writes a second of a writer that takes its time


class Writer:
    """fio writing for a while, with a log of each write's end and latency on the clock of time.time()."""

    def __init__(self, target, options, seconds, **more):
        self.log = f"{options.work}/latency"
        self.process = subprocess.Popen(
            rig.fio_command(target, **rig.for_seconds(seconds), write_lat_log=self.log, log_unix_epoch=1,
                            size=min(options.data * rig.MIB, target.size) if target.dense else target.size,
                            **more),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        atexit.register(self.process.terminate)

    def finish(self):
        self.result = rig.fio_result(self.process.communicate(timeout=300)[0])["write"]
        atexit.unregister(self.process.terminate)
        with open(f"{self.log}_clat.1.log", encoding="ascii") as file:
            self.samples = [(int(a), int(b) / 1e6) for a, b in (line.split(",")[:2] for line in file)]
        for name in ("clat", "slat", "lat"):
            try:
                os.unlink(f"{self.log}_{name}.1.log")
            except FileNotFoundError:
                pass

    def longest(self, start, end):
        """Milliseconds of the longest write that was under way between two times (of time.time())."""
        return max((latency for moment, latency in self.samples
                    if moment >= start * 1000 - 1 and moment - latency <= end * 1000 + 1), default=0.0)

    def slowest_thousandth(self):
        return self.result["clat_ns"]["percentile"]["99.900000"] / 1e6


def operations(target, rounds, pause=0.0):
    """Milliseconds of each create and each delete, and when each began and ended."""
    times, windows = {"create": [], "delete": []}, {"create": [], "delete": []}
    for number in range(rounds):
        for name, action in (("create", target.create), ("delete", target.delete)):
            rig.poke(target, number)
            start = time.time()
            times[name].append(rig.milliseconds(lambda act=action: act(f"probe{number}")))
            windows[name].append((start, time.time()))
            time.sleep(pause)
    return times, windows


def starts(target, rounds):
    """Milliseconds from start to a usable disk, with the image in the page cache and without."""
    found = {True: [], False: []}
    target.stop()
    for cold in (True, False):
        for _ in range(rounds):
            if cold:
                rig.drop_from_cache(target.image)
            found[cold].append(target.start())
            target.stop()
    target.start()
    return rig.median(found[False]), rig.median(found[True])


def beside(target, options, **how):
    """The operations one after the other beside a writer: both, and the longest writes around them."""
    writer = Writer(target, options, options.seconds + 0.5 * options.rounds, **how)
    time.sleep(0.5 + options.seconds / 4)
    times, windows = operations(target, options.rounds, 0.2)
    writer.finish()
    return writer, times, [writer.longest(*window) for window in windows["create"] + windows["delete"]]


def with_writer(target, options):
    """What writers and the operations feel of each other."""
    paced, _, paced_stall = beside(target, options, rate_iops=PACE)
    target.settle()
    quiet = Writer(target, options, options.seconds)
    quiet.finish()
    busy, times, stall = beside(target, options)
    return {
        "busy create ms": rig.median(times["create"]), "busy delete ms": rig.median(times["delete"]),
        "stall ms": rig.median(stall), "longest stall ms": max(stall),
        "p99.9 ms": busy.slowest_thousandth(), "p99.9 quiet ms": quiet.slowest_thousandth(),
        "p99.9 paced ms": paced.slowest_thousandth(), "IOPS paced": paced.result["iops"],
        "paced stall ms": rig.median(paced_stall), "longest paced stall ms": max(paced_stall),
        "longest quiet ms": max(latency for _, latency in quiet.samples),
        "IOPS": busy.result["iops"], "IOPS quiet": quiet.result["iops"],
    }


def without_daemon(gib, options):
    """The 99.9th percentile, in milliseconds, of the same writes into a file of the host, through its page cache as the
    daemons write theirs."""
    target = disks.Sparse(options.work, gib * rig.GIB)
    target.dense = gib <= 10
    add_data(target, options)
    writer = Writer(target, options, options.seconds, direct=0, ioengine="psync")
    writer.finish()
    target.destroy()
    return writer.slowest_thousandth()


def measure(target, options, existing):
    idle, _ = operations(target, options.rounds)
    target.create("goal")
    rig.poke(target, 1)
    goto = [target.goto("goal") for _ in range(options.rounds)]
    target.delete("goal")
    warm, cold = starts(target, options.rounds)
    memory = [target.memory()[0]]
    felt = with_writer(target, options)
    for _ in range(2):
        rig.fio(target, iodepth=16, **rig.for_seconds(options.seconds))
        memory.append(target.memory()[0])
    row = {"target": target.name, "disk": rig.size_text(target.size), "snapshots": existing,
           "create ms": rig.median(idle["create"]), "goto ms": rig.median(goto), "delete ms": rig.median(idle["delete"])}
    row |= felt | {"start ms": warm, "cold start ms": cold, "RSS KiB started": memory[0], "after writes": memory[1],
                   "after as many again": memory[2]}
    print(row, file=sys.stderr)
    return row


def add_data(target, options):
    """On a small disk as one piece of whole chunks, on a large one scattered over all of it."""
    length = min(options.data * rig.MIB, target.size)
    if target.dense:
        rig.fill(target, length)
    else:
        rig.scatter(target, length)


def one_disk(kind, gib, count, options):
    target = kind(options.work, gib * rig.GIB)
    target.dense = gib <= 10
    add_data(target, options)
    if kind is disks.Fvd:
        have = rig.add_snapshots(target, 0, count)
    else:
        with target.careless():
            have = rig.add_snapshots(target, 0, count, options.peer_seconds)
    if target.dense:  # whole chunks again: what a writer pays on a disk that has long been as it is
        rig.fill(target, min(options.data * rig.MIB, target.size))
    row = measure(target, options, have)
    target.stop()
    if kind is disks.Fvd:
        target.check()
    target.destroy()
    return row


def one_size(kind, gib, counts, options):
    rows = []
    for count in counts:
        rows.append(one_disk(kind, gib, count, options))
        if rows[-1]["snapshots"] < count:
            break
    return rows


def main():
    options = rig.arguments(__doc__, rounds=(5, "times that each operation is done"), seconds=(2.0, "that a writer runs"),
                            sizes=("10,100,1024", "GiB of the disks"), counts=("0,100,1000", "numbers of snapshots"),
                            data=(4096, "MiB of data on each disk"),
                            peer_counts=("0,100,1000", "numbers of snapshots of the peers"),
                            peer_large_counts=("0", "the same on disks of 100 GiB and more, where each takes seconds"),
                            peer_seconds=(60, "that a peer may take to make its snapshots"))
    rows = []
    for gib in rig.numbers(options.sizes):
        of_host = without_daemon(gib, options)
        for kind in disks.kinds(options):
            counts = options.counts if kind is disks.Fvd else (
                options.peer_counts if gib < 100 else options.peer_large_counts)
            rows += [row | {"p99.9 host ms": of_host} for row in one_size(kind, gib, rig.numbers(counts), options)]
    rig.report(options, ("operations", "Snapshot operations, daemon start and memory", rows))


if __name__ == "__main__":
    main()
