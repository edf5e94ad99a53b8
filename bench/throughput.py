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


def daemon_row(target, samples, names, start):
    """Processor time for a 4 KiB request and for a MiB in large ones, over all cells of the kind."""
    def cost(size, unit):
        chosen = [one for (cell, name), all_rounds in samples.items() if name == target.name and f" {size}" in cell
                  for one in all_rounds]
        amount = sum(one.requests if unit is None else one.bytes / unit for one in chosen)
        return sum(one.cpu for one in chosen) * 1e6 / amount if amount else None

    now, own = target.memory()
    return {"target": target.name, "RSS KiB before": start[0], "RSS KiB after": now, "own before": start[1],
            "own after": own, "CPU us a 4 KiB request": cost("4k", None), "CPU us a MiB": cost("1M", rig.MIB)}


def make(options):
    targets = [kind(options.work, options.mib * rig.MIB) for kind in disks.kinds(options, disks.Raw, disks.Floor)]
    many = None
    if options.snapshots:
        many = f"fvdfs {options.snapshots} snapshots"
        targets.append(disks.Fvd(options.work, options.mib * rig.MIB, many))
    for target in targets:
        rig.fill(target, target.size)
        if target.name == many:
            rig.add_snapshots(target, 0, options.snapshots)
            rig.fill(target, target.size)  # chunks of its own again, all of them complete
    return targets, many


def main():
    options = rig.arguments(__doc__, mib=(1024, "size of the disk"), seconds=(1.0, "of each measurement"),
                            rounds=(3, "rounds, of which the median counts"),
                            snapshots=(1000, "snapshots of the disk that has many; 0 = no such disk"),
                            only=("", "cells whose name contains one of these words, separated by semicolons"))
    targets, many = make(options)
    names = [target.name for target in targets]
    start = {target.name: target.memory() for target in targets if target.pid}
    samples = {}
    chosen = cells.named(options.only)
    for number in range(options.rounds):
        for cell in chosen:
            for repeat in range(cells.repeats(cell)):
                # Forwards and backwards: a disk is not always measured after the same other one.
                for target in targets if (number + repeat) % 2 == 0 else reversed(targets):
                    samples.setdefault((cell, target.name), []).append(cells.measure(target, cell, options.seconds))
    rows = [row_of(cell, samples, names, many) for cell in chosen]
    summary = [{"ratio": column, "geometric mean": rig.geometric_mean([row[column] for row in rows]),
                "least": min(row[column] for row in rows), "where": min(rows, key=lambda row: row[column])["work"]}
               for column in rows[0] if "/" in column]
    daemons = [daemon_row(target, samples, names, start[target.name]) for target in targets if target.pid]
    rig.report(options, ("cells", f"Requests a second on a full disk of {rig.size_text(options.mib * rig.MIB)}", rows),
               ("summary", "Ratios over all cells", summary), ("daemons", "Daemons over all of it", daemons))


if __name__ == "__main__":
    main()
