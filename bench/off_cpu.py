#!/usr/bin/env python3
"""Where the threads of a daemon are, on a processor or waiting, and for what: microseconds of all of them for each request of
fio. perf records each time the scheduler takes one off a processor or wakes it, with the kernel's stack, which itself costs
some of the time. Needs root and perf, on a kernel with the tracepoints of the scheduler."""
import os
import re
import shutil
import sys

import cells
import disks
import rig

CELLS = ("rand read 4k q1, direct, hot;rand read 4k q16, direct, hot;rand read 4k q16, direct, cold;seq read 1M q1, direct, hot;"
         "rand write 4k q1, direct;4 writers;fsync each;fdatasync each 32")
# The first whose function is in the stack says what a thread waits for.
REASONS = {
    "next request": ("fuse_dev_do_read",),
    "idle": ("futex_wait", "do_nanosleep", "do_epoll_wait", "do_sys_poll", "do_sigtimedwait", "hrtimer_nanosleep"),
    "sync": ("ext4_sync_file", "ext4_fsync", "generic_write_sync", "vfs_fsync_range", "blkdev_issue_flush", "jbd2_log_wait_commit"),
    "lock": ("rwsem_down_write_slowpath", "rwsem_down_read_slowpath", "__mutex_lock", "futex_lock_pi"),
    "read": ("filemap_read", "filemap_get_pages", "folio_wait_bit", "io_schedule"),
    "dirty limit": ("balance_dirty_pages",),
}
IGNORED = ("next request", "idle")  # nobody waits for a thread that waits for work
HEADER = re.compile(r"\s*(\d+)\s+([\d.]+):\s+sched:(sched_switch|sched_waking):\s+(.*)")


def reason(stack):
    for name, functions in REASONS.items():
        if any(function in stack for function in functions):
            return name
    return "other"


class Threads:
    """Adds up where the threads of one daemon are."""

    def __init__(self, threads):
        self.threads = threads
        self.sums = {name: 0.0 for name in ["on a processor", "runnable", *REASONS, "other"]}
        self.since = {}  # thread: (time, where it is since then)

    def move(self, thread, now, where):
        if thread not in self.threads:
            return
        if thread in self.since:
            start, place = self.since[thread]
            self.sums[place] += now - start
        self.since[thread] = (now, where)

    def event(self, now, kind, text, stack):
        if kind == "sched_waking":
            thread = int(re.search(r"\bpid=(\d+)", text)[1])
            if thread in self.since and self.since[thread][1] not in ("on a processor", "runnable"):
                self.move(thread, now, "runnable")
            return
        gone = re.search(r"prev_pid=(\d+).*prev_state=(\S+).*next_pid=(\d+)", text)
        self.move(int(gone[1]), now, "runnable" if gone[2].startswith("R") else reason(stack))
        self.move(int(gone[3]), now, "on a processor")

    def read(self, script):
        current, stack = None, []
        for line in script.split("\n"):
            if header := HEADER.match(line):
                current, stack = (float(header[2]), header[3], header[4]), []
            elif line.strip():
                stack.append(line)
            elif current:
                self.event(*current, "\n".join(stack))
                current = None


def comm(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
        return file.read().strip()


def profile(target, cell, seconds):
    options, state = cells.CELLS[cell]
    cells.prepare(target, state, "write" in options["rw"])
    name, data = comm(target.pid), target.directory / "perf.data"
    threads = {int(thread) for thread in os.listdir(f"/proc/{target.pid}/task")}
    fio = rig.fio_command(target, group_reporting=1, **(rig.for_seconds(seconds) | options))
    text = rig.run("perf", "record", "--quiet", "--all-cpus", "--mmap-pages", "16M", "--output", data,
                   "--event", "sched:sched_switch", "--filter", f'prev_comm == "{name}" || next_comm == "{name}"',
                   "--event", "sched:sched_waking", "--filter", f'comm == "{name}"', "-g", "--", *fio)
    found = Threads(threads)
    found.read(rig.run("perf", "script", "--input", data, "--fields", "tid,time,event,trace,ip,sym"))
    data.unlink()
    job = rig.fio_result(text)
    requests = sum(job[kind]["total_ios"] for kind in ("read", "write"))
    target.settle()
    return {"target": target.name, "work": cell, "requests": requests} | {
        place: total * 1e6 / requests for place, total in found.sums.items() if place not in IGNORED}


def main():
    options = rig.arguments(__doc__, mib=(1024, "size of the disk"), seconds=(0.4, "of each measurement"),
                            only=(CELLS, "cells whose name contains one of these words, separated by semicolons"))
    if os.geteuid() != 0 or not shutil.which("perf"):
        sys.exit("perf and root are needed")
    targets = [kind(options.work, options.mib * rig.MIB) for kind in disks.kinds(options, disks.Floor)]
    for target in targets:
        rig.fill(target, target.size)
    rows = [profile(target, cell, options.seconds) for cell in cells.named(options.only) for target in targets]
    rig.report(options, ("off-cpu", "Microseconds of the daemon's threads for each request", rows))


if __name__ == "__main__":
    main()
