#!/usr/bin/env python3
"""The daemon's memory, and the time from its start to a usable mount, on a disk of 1 TiB with scattered data and many
snapshots."""
import rig


def main():
    options = rig.arguments(__doc__, snapshots=(1000, "snapshots"), gib=(4, "of scattered data"),
                            rounds=(5, "starts, of which the median counts"),
                            peer_snapshots=(5, "snapshots of the peer, which needs seconds for each"))
    rows = []
    for kind in rig.targets(options):
        target = kind(options.work, 1024 * rig.GIB)
        rig.scatter(target, options.gib * rig.GIB)
        have = rig.add_snapshots(target, 0, options.snapshots if kind is rig.Fvd else options.peer_snapshots)
        target.stop()
        warm, cold = [], []
        for times, forget in ((cold, True), (warm, False)):
            for _ in range(options.rounds):
                if forget:
                    rig.drop_from_cache(target.image)
                times.append(target.start())
                target.stop()
        target.start()
        idle, idle_own = target.memory()
        rig.fio(target, iodepth=16, time_based=1, runtime=5)
        rig.fio(target, rw="randread", iodepth=16, time_based=1, runtime=5)
        busy, busy_own = target.memory()
        rows.append({"target": kind.name, "snapshots": have, "start ms": rig.median(warm), "cold start ms": rig.median(cold),
                     "RSS after start KiB": idle, "own": idle_own, "RSS after I/O KiB": busy, "own after I/O": busy_own,
                     "image MiB on disk": target.allocated() // rig.MIB})
        if kind is rig.Fvd:
            target.stop()
            target.check()
        target.destroy()
    rig.report(options, f"1 TiB with {options.gib} GiB of scattered data", rows)


if __name__ == "__main__":
    main()
