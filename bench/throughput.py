#!/usr/bin/env python3
"""Throughput side by side, in turns: fio on a file of the host, on the floor (a minimal FUSE passthrough), on fvdfs without
and with many snapshots, and on qemu-storage-daemon's FUSE export of two kinds of qcow2. Requests a second, ratios (the
median of those of the rounds), and each daemon's memory and processor time."""
import cells
import disks
import rig


def ratio(samples, cell, name, other):
    return rig.median(a.rate / b.rate for a, b in zip(samples[cell, name], samples[cell, other]))


def row_of(cell, samples, names, many):
    row = {"work": cell}
    row |= {name: rig.median(sample.rate for sample in samples[cell, name]) for name in names}
    row |= {f"fvdfs/{name}": ratio(samples, cell, "fvdfs", name) for name in ("raw", "floor") if name in names}
    peers = [ratio(samples, cell, "fvdfs", kind.name) for kind in disks.PEERS if kind.name in names]
    if peers:
        row["fvdfs/best qcow2"] = min(peers)
    if many:
        row["with/without snapshots"] = ratio(samples, cell, many, "fvdfs")
    return row


def daemon_row(target, samples, start, end):
    """Processor time for a 4 KiB request and for a MiB in large ones, over all cells of the kind, and the memory before and
    after a round."""
    def cost(size, unit):
        chosen = [one for (cell, name), all_rounds in samples.items() if name == target and f" {size}" in cell
                  for one in all_rounds]
        amount = sum(one.requests if unit is None else one.bytes / unit for one in chosen)
        return sum(one.cpu for one in chosen) * 1e6 / amount if amount else None

    return {"target": target, "RSS KiB before": start[0], "RSS KiB after": end[0], "own before": start[1],
            "own after": end[1], "CPU us a 4 KiB request": cost("4k", None), "CPU us a MiB": cost("1M", rig.MIB)}


class Many(disks.Fvd):
    """Ours with many snapshots, and again chunks of its own, all of them complete."""

    def __init__(self, directory, size, count):
        super().__init__(directory, size, f"fvdfs {count} snapshots")
        self.count = count


def make(options, number):
    """The disks. Whichever is made first is slower on some machines, by where its pages lie in memory: so they are made
    anew for each round, each time in another order."""
    kinds = disks.kinds(options, disks.Raw, disks.Floor)
    makers = [lambda kind=kind: kind(options.work, options.mib * rig.MIB) for kind in kinds]
    if options.snapshots:
        makers.append(lambda: Many(options.work, options.mib * rig.MIB, options.snapshots))
    first = number * 2 % len(makers)
    targets = []
    for maker in makers[first:] + makers[:first]:
        target = maker()
        targets.append(target)
        rig.fill(target, target.size)
        if isinstance(target, Many):
            rig.add_snapshots(target, 0, target.count)
            rig.fill(target, target.size)
    return targets


def main():
    options = rig.arguments(__doc__, mib=(1024, "size of the disk"), seconds=(1.0, "of each measurement"),
                            rounds=(3, "rounds, of which the median counts"),
                            snapshots=(1000, "snapshots of the disk that has many; 0 = no such disk"),
                            only=("", "cells whose name contains one of these words, separated by semicolons"))
    samples, memory, names = {}, {}, []
    chosen = cells.named(options.only)
    for number in range(options.rounds):
        targets = make(options, number)
        start = {target.name: target.memory() for target in targets if target.pid}
        for cell in chosen:
            for repeat in range(cells.repeats(cell)):
                # Forwards and backwards: a disk is not always measured after the same other one.
                for target in targets if (number + repeat) % 2 == 0 else reversed(targets):
                    samples.setdefault((cell, target.name), []).append(cells.measure(target, cell, options.seconds))
        memory = memory or {target.name: (start[target.name], target.memory()) for target in targets if target.pid}
        names = names or [target.name for target in targets]
        for target in targets:
            target.destroy()
    many = f"fvdfs {options.snapshots} snapshots" if options.snapshots else None
    rows = [row_of(cell, samples, names, many) for cell in chosen]
    summary = [{"ratio": column, "geometric mean": rig.geometric_mean([row[column] for row in rows]),
                "least": min(row[column] for row in rows), "where": min(rows, key=lambda row: row[column])["work"]}
               for column in rows[0] if "/" in column]
    daemons = [daemon_row(name, samples, *found) for name, found in memory.items()]
    rig.report(options, ("cells", f"Requests a second on a full disk of {rig.size_text(options.mib * rig.MIB)}", rows),
               ("summary", "Ratios over all cells", summary), ("daemons", "Daemons over all of it", daemons))


if __name__ == "__main__":
    main()
