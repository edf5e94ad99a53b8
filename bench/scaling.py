#!/usr/bin/env python3
"""How costs grow: create, goto, delete, start, memory and random writes against the virtual size, the number of snapshots and
the share of a disk overwritten since its last snapshot, next to what the design predicts.

The prediction: an operation reads and writes so many bytes of tables, directory and counts (docs/format.md gives their
sizes), each at the host's rate; what does not depend on them is as at the first point of the sweep."""
import os
import time

import disks
import rig
from snapshots import operations, starts

CHUNK, BLOCKS, ENTRIES_A_GROUP, PAGE = rig.MIB, 256, 16, 4096
SUPERBLOCK = PAGE


def groups_of(target):
    return -(-target.size // CHUNK // ENTRIES_A_GROUP)


def scattered_groups(target, pieces):
    """How many groups of the table at least one of so many pieces at random is expected to hit."""
    groups = groups_of(target)
    return groups * (1 - (1 - 1 / groups) ** pieces) if groups > 1 else min(groups, pieces)


def poked_groups(target, length, pokes):
    """How many groups are hit by data at the start of the disk and by the pokes between snapshots."""
    return len({offset // CHUNK // ENTRIES_A_GROUP for offset in
                [*range(0, length, CHUNK), *(number * 7919 * rig.MIB % target.size for number in range(max(pokes, 2)))]})


class Sizes:
    """Bytes of each structure by the format."""

    def __init__(self, target, groups, snapshots):
        self.walk = 4 * (target.size // CHUNK)  # the table in memory
        metrics = target.metrics()
        self.partial = metrics["fvd_partial_chunks"]
        self.table = -(-(64 + 4 * groups) // PAGE) * PAGE + groups * 4 * ENTRIES_A_GROUP + self.partial * (8 + BLOCKS // 8)
        self.directory = 64 + sum(-(-(64 + len(f"s{n}")) // 8) * 8 for n in range(snapshots + 1))
        self.pages = min(self.directory, 2 * PAGE)  # written of the directory by an operation at its end: its first and last page
        self.counts = 64 + 2 * (metrics["fvd_chunks_used"] + 1)
        # The table's pages in use (at most one a group), a bit for each chunk of the file, an entry of the map for each partial chunk.
        self.memory = min(groups * PAGE, self.walk) + metrics["fvd_chunks"] / 8 + self.partial * (BLOCKS // 8 + 24)

    def moved(self):
        """{operation: (bytes read, bytes written)}"""
        return {"create": (self.walk + self.counts, self.table + self.pages + self.counts + SUPERBLOCK),
                "goto": (self.walk + self.table + self.counts, SUPERBLOCK),
                "delete": (self.table + self.counts, self.pages + self.counts + SUPERBLOCK),
                "start": (self.walk + self.table + self.directory + self.counts, 0)}


def host_rates(directory):
    """Milliseconds for reading a byte from the page cache, and for writing one and syncing it."""
    size, piece = 64 * rig.MIB, os.urandom(rig.MIB)
    path = f"{directory}/rates"
    with open(path, "wb") as file:
        start = time.perf_counter()
        for _ in range(size // len(piece)):
            file.write(piece)
        file.flush()
        os.fdatasync(file.fileno())
        write = (time.perf_counter() - start) * 1000 / size
    start = time.perf_counter()
    with open(path, "rb") as file:
        while file.read(rig.MIB):
            pass
    read = (time.perf_counter() - start) * 1000 / size
    os.unlink(path)
    return read, write


def written(target):
    return {key: value for key, value in target.metrics().items()
            if key.startswith("fvd_write_bytes") and "data" not in key and "journal" not in key}


def point(target, sweep, at, sizes, options, span=None):
    """A row without its predictions of times, and the bytes that these follow from."""
    before = written(target)
    target.create("counted")
    bytes_written = sum(written(target).values()) - sum(before.values())
    target.delete("counted")
    times, _ = operations(target, options.rounds)
    target.create("goal")
    goto = [target.goto("goal") for _ in range(options.rounds)]
    target.delete("goal")
    start, _ = starts(target, options.rounds)
    memory = target.memory()[1]
    rate = rig.fio(target, iodepth=16, size=span or target.size, **rig.for_seconds(options.seconds))["write"]["iops"]
    return {"sweep": sweep, "at": at, "create bytes": bytes_written,
            "create bytes predicted": round(sizes.moved()["create"][1]),
            "create ms": rig.median(times["create"]), "goto ms": rig.median(goto), "delete ms": rig.median(times["delete"]),
            "start ms": start, "own memory KiB": memory, "writes/s": rate}, sizes


def predicted(points, rates):
    """Adds to each row of a sweep what the design predicts from its first one."""
    first, first_sizes = points[0]
    rows = []
    for row, sizes in points:
        row = dict(row)
        for operation, (read, write) in sizes.moved().items():
            more_read, more_written = read - first_sizes.moved()[operation][0], write - first_sizes.moved()[operation][1]
            row[f"{operation} predicted"] = first[f"{operation} ms"] + more_read * rates[0] + more_written * rates[1]
        row["memory predicted"] = first["own memory KiB"] + (sizes.memory - first_sizes.memory) / rig.KIB
        row["writes/s predicted"] = first["writes/s"]
        rows.append(row)
    return rows


def by_size(options):
    for gib in rig.numbers(options.sizes):
        target = disks.Fvd(options.work, gib * rig.GIB)
        rig.scatter(target, options.data * rig.MIB)
        yield point(target, "virtual size", gib, Sizes(target, scattered_groups(target, options.data * 16), 0), options)
        target.destroy()


def by_snapshots(options):
    target, length = disks.Fvd(options.work, 10 * rig.GIB), options.data * rig.MIB
    rig.fill(target, length)
    have = 0
    for count in rig.numbers(options.counts):
        have = rig.add_snapshots(target, have, count)
        rig.fill(target, length)
        yield point(target, "snapshots", count, Sizes(target, poked_groups(target, length, count), count), options, length)
    target.stop()
    target.check()
    target.destroy()


def by_share(options):
    target = disks.Fvd(options.work, options.disk * rig.MIB)
    rig.fill(target, target.size)
    target.create("s0")
    for percent in rig.numbers(options.shares):
        target.goto("s0")
        length = target.size * percent // 100 // CHUNK * CHUNK
        if length:  # one block of each of so many chunks
            rig.fio(target, rw="write:1020k", bs="4k", io_size=length // BLOCKS, size=length, end_fsync=1, direct=0,
                    ioengine="psync")
        yield point(target, "percent overwritten", percent, Sizes(target, groups_of(target), 1), options)
    target.destroy()


def main():
    options = rig.arguments(__doc__, sizes=("1,4,16,64,256,1024,4096,16384", "GiB of the disks"),
                            counts=("0,10,100,1000,10000", "numbers of snapshots, ascending"),
                            shares=("0,12,25,50,100", "percent of the chunks overwritten"),
                            disk=(4096, "MiB of the disk that is overwritten"), data=(256, "MiB of data on the others"),
                            rounds=(5, "times that each operation is done"), seconds=(1.0, "that a writer runs"))
    rates = host_rates(options.work)
    rows = []
    for sweep in (by_size, by_snapshots, by_share):
        rows += predicted(list(sweep(options)), rates)
    rig.report(options, ("scaling", "How costs grow, and what the design predicts", rows))


if __name__ == "__main__":
    main()
