#!/usr/bin/env python3
"""A disk that is written at random all the time between snapshots and never rests: the rate of the writes after each
snapshot, and the bytes written for each byte asked. What a first write into a chunk of a snapshot must bring along
accumulates there, since nothing is completed in the background."""
import disks
import rig


def part(target, options):
    """Writes a share; the rate until all of it is on the storage, and bytes written a byte asked."""
    written = target.written()
    job = rig.fio(target, iodepth=16, number_ios=options.writes, end_fsync=1)["write"]
    return job["iops"], (target.written() - written) / job["io_bytes"]


def measure(kind, options):
    target = kind(options.work, options.gib * rig.GIB)
    rig.scatter(target, min(options.data * rig.MIB, target.size))
    rows = []
    for number in range(options.snapshots + 1):
        target.settle()
        rate, amount = part(target, options)
        target.create(f"s{number}")
        rows.append({"target": target.name, "snapshots": number, "writes/s": rate, "bytes a byte": amount})
    target.destroy()
    return rows


def main():
    options = rig.arguments(__doc__, gib=(100, "size of the disk"), data=(4096, "MiB of data scattered over it"),
                            writes=(20000, "4 KiB writes between snapshots"), snapshots=(8, "snapshots"))
    rows = [row for kind in disks.kinds(options) for row in measure(kind, options)]
    rig.report(options, ("often", "Writes a second, and bytes written a byte asked, snapshot after snapshot", rows))


if __name__ == "__main__":
    main()
