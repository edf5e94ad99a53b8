#!/usr/bin/env python3
"""Snapshot operations: the time of create, goto and delete, and what a running 4 KiB O_DIRECT writer feels of create and
delete (the longest write around the operation, against the longest without)."""
import os
import subprocess
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


def measure(target, options, existing):
    quiet = Writer(target, options, options.seconds)
    quiet.finish()
    busy = Writer(target, options, options.seconds + options.rounds * 3)
    time.sleep(1.5)
    times, windows = {"create": [], "delete": []}, {"create": [], "delete": []}
    for number in range(options.rounds):
        for name, action in (("create", target.create), ("delete", target.delete)):
            start = time.time()
            times[name].append(rig.milliseconds(lambda: action(f"probe{number}")))
            windows[name].append((start, time.time()))
            time.sleep(0.25)
    busy.finish()
    stall = {name: [busy.longest(*window) for window in windows[name]] for name in windows}
    target.create("goal")
    rig.poke(target, 1)
    goto = [target.goto("goal") for _ in range(options.rounds)]
    target.delete("goal")
    return {
        "target": target.name, "disk": f"{target.size // rig.GIB} GiB", "snapshots": existing,
        "create ms": rig.median(times["create"]), "goto ms": rig.median(goto),
        "delete ms": rig.median(times["delete"]),
        "stall create ms": rig.median(stall["create"]), "worst": max(stall["create"]),
        "stall delete ms": rig.median(stall["delete"]), "worst delete": max(stall["delete"]),
        "quiet longest ms": max(latency for _, latency in quiet.samples),
        "quiet p99.9 ms": quiet.result["clat_ns"]["percentile"]["99.900000"] / 1e6,
        "p99.9 ms": busy.result["clat_ns"]["percentile"]["99.900000"] / 1e6,
        "IOPS": quiet.result["iops"],
    }


def main():
    options = rig.arguments(__doc__, rounds=(5, "times that each operation is done"), seconds=(5, "that a writer runs"),
                            counts=("0,100,1000", "numbers of existing snapshots on 10 GiB"),
                            peer_seconds=(240, "that the peer may take to make its snapshots"),
                            large=(1, "also 1 TiB with 4 GiB of scattered data"))
    rows = []
    for kind in rig.targets(options):
        options.span = 4 * rig.GIB
        target = kind(options.work, 10 * rig.GIB)
        rig.fill(target, 4 * rig.GIB)
        have = 0
        for count in map(int, options.counts.split(",")):
            have = rig.add_snapshots(target, have, count, options.peer_seconds if kind is not rig.Fvd else None)
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
