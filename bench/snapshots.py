#!/usr/bin/env python3
"""Snapshot operations: the time of create, goto and delete on a quiet disk; of create and delete beside a 4 KiB O_DIRECT
writer at full speed, and what that writer feels of them (the longest write around the operation)."""
import os
import subprocess
import sys
import time

import rig


class Writer:
    """fio writing for a while, with a log of each write's end and latency on the clock of time.time()."""

    def __init__(self, target, options, seconds):
        self.log = f"{options.work}/latency"
        self.process = subprocess.Popen(
            rig.fio_command(target, time_based=1, runtime=seconds, write_lat_log=self.log, log_unix_epoch=1,
                            **({"size": options.span} if options.span else {})),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def finish(self):
        text = self.process.communicate(timeout=300)[0]
        self.result = rig.fio_result(text)["write"]
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


def operations(target, rounds, pause=0.0):
    """Milliseconds of each create and each delete, and when each began and ended."""
    times, windows = {"create": [], "delete": []}, {"create": [], "delete": []}
    for number in range(rounds):
        for name, action in (("create", target.create), ("delete", target.delete)):
            rig.poke(target, number)
            start = time.time()
            times[name].append(rig.milliseconds(lambda: action(f"probe{number}")))
            windows[name].append((start, time.time()))
            time.sleep(pause)
    return times, windows


def measure(target, options, existing):
    idle, _ = operations(target, options.rounds)
    target.create("goal")
    rig.poke(target, 1)
    goto = [target.goto("goal") for _ in range(options.rounds)]
    target.delete("goal")
    time.sleep(2)
    quiet = Writer(target, options, options.seconds)
    quiet.finish()
    busy = Writer(target, options, 2 + options.rounds)
    time.sleep(1.5)
    times, windows = operations(target, options.rounds, 0.25)
    busy.finish()
    stall = {name: [busy.longest(*window) for window in windows[name]] for name in windows}
    row = {
        "target": target.name, "disk": f"{target.size // rig.GIB} GiB", "snapshots": existing,
        "create ms": rig.median(idle["create"]), "goto ms": rig.median(goto), "delete ms": rig.median(idle["delete"]),
        "with a writer: create": rig.median(times["create"]), "delete": rig.median(times["delete"]),
        "stall create": rig.median(stall["create"]), "worst": max(stall["create"]),
        "stall delete": rig.median(stall["delete"]), "worst delete": max(stall["delete"]),
        "p99.9 ms": busy.result["clat_ns"]["percentile"]["99.900000"] / 1e6,
        "p99.9 quiet": quiet.result["clat_ns"]["percentile"]["99.900000"] / 1e6,
        "longest quiet": max(latency for _, latency in quiet.samples),
        "IOPS": busy.result["iops"], "IOPS quiet": quiet.result["iops"],
    }
    print(row, file=sys.stderr)
    return row


def main():
    options = rig.arguments(__doc__, rounds=(5, "times that each operation is done"), seconds=(5, "that a writer runs"),
                            counts=("0,100,1000", "numbers of existing snapshots on 10 GiB"),
                            peer_seconds=(240, "that the peer may take to make its snapshots"),
                            large=(1, "also 1 TiB with 4 GiB of scattered data"))
    rows = []
    for kind in rig.targets(options):
        options.span = 4 * rig.GIB
        target = kind(options.work, 10 * rig.GIB)
        have = 0
        for count in map(int, options.counts.split(",")):
            have = rig.add_snapshots(target, have, count, options.peer_seconds if kind is not rig.Fvd else None)
            # Whole chunks again: a first write into a chunk that snapshots share and that is partial copies its blocks.
            rig.fill(target, 4 * rig.GIB)
            rows.append(measure(target, options, have))
        target.destroy()
        if options.large:
            options.span = None
            target = kind(options.work, 1024 * rig.GIB)
            rig.scatter(target, 4 * rig.GIB)
            rows.append(measure(target, options, 0))
            target.destroy()
    rig.report(options, "Snapshot operations, with a writer running during create and delete", rows)


if __name__ == "__main__":
    main()
