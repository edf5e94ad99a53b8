#!/usr/bin/env python3
"""PostMark on ext4 on a loop device on each disk: files created a second, until all of it is on the disk. Once with at most
16 MiB of dirty pages, as in a small guest, since else nothing would be written before PostMark deletes it again; once with a
sync mount, where each creation waits for the disk; these on a fresh disk. And once more with few dirty pages right after a
snapshot of a full disk (the host's file and the floor, which have none, without). Needs root, losetup and postmark."""
import os
import pathlib
import re
import subprocess
import sys
import time

import disks
import rig

DIRTY_LIMIT = 16 * rig.MIB
# name: (mount options, share of the files, largest file)
FRESH = {"16 MiB dirty": ("defaults", 1.0, 100000), "sync mount": ("sync", 0.1, 10000)}
SNAPSHOT = {"16 MiB dirty, after a snapshot": ("defaults", 1.0, 100000)}


class LoopMount:
    """An ext4 file system on a loop device over a file; gone when the block ends, however it ends."""

    def __init__(self, file, directory):
        self.file, self.directory = file, pathlib.Path(directory)
        self.device = None

    def __enter__(self):
        # Without direct I/O: with it, what mkfs writes into qemu-storage-daemon's export does not read back.
        self.device = rig.run("losetup", "--find", "--show", "--direct-io=off", self.file).strip()
        try:
            rig.run("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", self.device)
        except BaseException:
            self.detach()
            raise
        return self

    def detach(self):
        subprocess.run(["losetup", "-d", self.device], check=False, timeout=60)

    def mount(self, options):
        self.directory.mkdir(exist_ok=True)
        rig.run("mount", "-t", "ext4", "-o", options, self.device, self.directory)
        number = os.stat(self.device).st_rdev
        control = pathlib.Path(f"/sys/class/bdi/{os.major(number)}:{os.minor(number)}")
        try:
            (control / "strict_limit").write_text("1", encoding="ascii")
            (control / "max_bytes").write_text(str(DIRTY_LIMIT), encoding="ascii")
        except OSError as problem:
            print(f"no limit for dirty pages on this kernel: {problem}", file=sys.stderr)

    def unmount(self):
        rig.run("umount", self.directory)

    def __exit__(self, *_):
        if os.path.ismount(self.directory):
            subprocess.run(["umount", str(self.directory)], check=False, timeout=120)
        self.detach()


def postmark(directory, files, largest):
    """How many files PostMark created: those at the start, and those of its transactions."""
    text = rig.run("postmark", stdin=f"set location {directory}\nset number {files}\nset transactions {files}\n"
                   f"set size 500 {largest}\nset buffering false\nset write 4096\nset read 4096\nrun\nquit\n")
    return int(re.search(r"(\d+) created", text)[1])


def measure_on(target, loop, variants, options, samples):
    for variant, (mount_options, share, largest) in variants.items():
        loop.mount(mount_options)
        start, cpu = time.perf_counter(), target.cpu() if target.pid else 0.0
        created = postmark(loop.directory, max(10, round(options.files * share)), largest)
        loop.unmount()
        taken = time.perf_counter() - start
        cpu = (target.cpu() if target.pid else 0.0) - cpu
        samples.setdefault((variant, target.name), []).append((created / taken, cpu / taken))


def measure(kind, options, samples):
    target = kind(options.work, options.mib * rig.MIB)
    with LoopMount(target.disk, f"{options.work}/mount") as loop:
        measure_on(target, loop, FRESH, options, samples)
    rig.fill(target, target.size)
    with LoopMount(target.disk, f"{options.work}/mount") as loop:
        target.settle()
        if hasattr(target, "create"):
            target.create("full")
        measure_on(target, loop, SNAPSHOT, options, samples)
    target.destroy()


def main():
    options = rig.arguments(__doc__, mib=(2048, "size of the disk"), files=(5000, "files to start with"),
                            rounds=(3, "rounds, of which the median counts"))
    if os.geteuid() != 0:
        sys.exit("loop devices and mounts need root")
    samples = {}
    kinds = disks.kinds(options, disks.Raw, disks.Floor)
    for _ in range(options.rounds):
        for kind in kinds:
            measure(kind, options, samples)
    rows = []
    for variant in FRESH | SNAPSHOT:
        rates = {name: [rate for rate, _ in found] for (which, name), found in samples.items() if which == variant}
        for name, found in rates.items():
            rows.append({"variant": variant, "target": name, "files/s": rig.median(found),
                         "fvdfs/this": rig.median(a / b for a, b in zip(rates["fvdfs"], found)),
                         "daemon's CPU share": rig.median(share for _, share in samples[variant, name])})
    rig.report(options, ("postmark", "PostMark on ext4 on a loop device: files created a second", rows))


if __name__ == "__main__":
    main()
