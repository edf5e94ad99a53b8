#!/usr/bin/env python3
"""The price of the first writes after a snapshot of a full disk: each write workload before and right after, in turns, and
the bytes written for each byte asked."""
import cells
import disks
import rig


class Measured:
    """A cell's rate, and the bytes written for each byte asked: by the daemon's write calls (its replies to the kernel, 16
    bytes each, are among them), by its own metrics, and by the host's disk, where others write too."""

    def __init__(self, target, cell, seconds):
        target.settle()
        calls, device, image = target.written(), target.device_written(), self.image_bytes(target)
        sample = cells.measure(target, cell, seconds, end_fsync=1)
        self.rate = sample.rate
        target.settle()
        self.calls = None if calls is None else (target.written() - calls) / sample.bytes
        self.device = None if device is None else (target.device_written() - device) / sample.bytes
        self.image = None if image is None else (self.image_bytes(target) - image) / sample.bytes

    @staticmethod
    def image_bytes(target):
        if not isinstance(target, disks.Fvd):
            return None
        return sum(value for key, value in target.metrics().items() if key.startswith("fvd_write_bytes"))


def one_round(targets, chosen, number, seconds, samples):
    def run(cell, target, when):
        samples.setdefault((target.name, cell, when), []).append(Measured(target, cell, seconds))

    for target in targets:
        rig.fill(target, target.size)
    for cell in chosen:
        for target in targets:
            run(cell, target, "before")
    for target in targets:
        rig.fill(target, target.size)
        target.create(f"full{number}")
    for cell in chosen:
        for target in targets:
            target.goto(f"full{number}")  # so that each cell writes for the first time since the snapshot
            run(cell, target, "after")
    for target in targets:
        target.delete(f"full{number}")


def row_of(name, cell, before, after):
    def middle(samples, what):
        return rig.median_if_known(getattr(one, what) for one in samples)

    return {"target": name, "work": cell, "before": middle(before, "rate"), "after": middle(after, "rate"),
            "after/before": rig.median(b.rate / a.rate for a, b in zip(before, after)),
            "bytes a byte": middle(after, "calls"), "of the image": middle(after, "image"),
            "on the host's disk": middle(after, "device"), "and before": middle(before, "device")}


def main():
    options = rig.arguments(__doc__, mib=(1024, "size of the disk"), seconds=(1.0, "of each measurement"),
                            rounds=(3, "rounds, of which the median counts"),
                            only=("", "cells whose name contains one of these words, separated by semicolons"))
    targets = [kind(options.work, options.mib * rig.MIB) for kind in disks.kinds(options)]
    chosen = [cell for cell in cells.named(options.only) if cell in cells.writes()]
    samples = {}
    for number in range(options.rounds):
        one_round(targets, chosen, number, options.seconds, samples)
    rows = [row_of(target.name, cell, samples[target.name, cell, "before"], samples[target.name, cell, "after"])
            for target in targets for cell in chosen]
    title = f"Writes a second on a full disk of {rig.size_text(options.mib * rig.MIB)}, before and right after a snapshot"
    rig.report(options, ("cells", title, rows))


if __name__ == "__main__":
    main()
