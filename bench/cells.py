"""The workloads, by name: what fio does, and what the page caches hold before."""
import rig

DIRECT, BUFFERED = {"direct": 1}, {"direct": 0}
SEQUENTIAL, RANDOM = {"bs": "1M"}, {"bs": "4k"}
COLD, HOT = "cold", "hot"


def depth(count, direct):
    """`count` requests at a time. Buffered ones wait for each other in one thread, so there each has its own."""
    if direct:
        return {"ioengine": "libaio", "iodepth": count}
    return {"ioengine": "psync"} if count == 1 else {"ioengine": "psync", "numjobs": count, "thread": 1}


def matrix():
    """All combinations of size, depth and cache mode, reads with and without a warm cache."""
    found = {}
    for state in (COLD, HOT, None):  # in this order the caches need to be warmed once
        for mode, how in (("buffered", BUFFERED), ("direct", DIRECT)):
            for size, request in (("seq", SEQUENTIAL), ("rand", RANDOM)):
                for count in (1, 16):
                    verb = "write" if state is None else "read"
                    rw = verb if size == "seq" else f"rand{verb}"
                    name = f"{size} {verb} {request['bs']} q{count}, {mode}" + (f", {state}" if state else "")
                    found[name] = ({"rw": rw, **request, **how, **depth(count, mode == "direct")}, state)
    return found


SYNC_EACH = {"rw": "randwrite", **RANDOM, **BUFFERED, "ioengine": "psync"}
CELLS = matrix() | {
    "mixed 70/30 4k q16, direct": ({"rw": "randrw", "rwmixread": 70, **RANDOM, **DIRECT, "iodepth": 16}, None),
    "rand write 4k, fsync each": ({**SYNC_EACH, "fsync": 1}, None),
    "rand write 4k, fdatasync each 32": ({**SYNC_EACH, "fdatasync": 32}, None),
    "rand write 4k, 4 writers, direct": ({"rw": "randwrite", **RANDOM, **DIRECT, "ioengine": "psync", "numjobs": 4,
                                          "thread": 1}, None),
}


def named(only):
    """The cells whose name contains one of the words, which semicolons separate; all of them for none."""
    words = [word for word in only.split(";") if word]
    return [cell for cell in CELLS if not words or any(word in cell for word in words)]


def writes():
    return [cell for cell, (options, _) in CELLS.items() if options["rw"] in ("write", "randwrite")]


def repeats(cell):
    """How often a cell is measured in a round: what the storage does meanwhile is in all that nothing has cached."""
    return 3 if CELLS[cell][1] == COLD else 1


def prepare(target, state, writing):
    """Brings the page caches into the state that a cell starts from."""
    if state == COLD:
        target.cool()
        target.warm = False
    if state == HOT and not target.warm:
        rig.run("dd", f"if={target.disk}", "of=/dev/null", "bs=1M")
        target.warm = True
    if writing:
        target.warm = False


class Sample:
    """What one run of a cell on one target showed."""

    def __init__(self, job, cpu):
        parts = [job[kind] for kind in ("read", "write") if job[kind]["total_ios"]]
        self.requests = sum(part["total_ios"] for part in parts)
        self.bytes = sum(part["io_bytes"] for part in parts)
        self.rate = self.requests * 1000 / max(max(part["runtime"] for part in parts), 1)  # a second
        self.cpu = cpu  # seconds of the daemon's


def measure(target, cell, seconds, **more):
    options, state = CELLS[cell]
    prepare(target, state, "write" in options["rw"] or options["rw"] == "randrw")
    # A sequential read of a cold disk ends with the disk: what comes again would come from the cache.
    limit = rig.for_seconds(seconds)
    if state == COLD and options["rw"] == "read":
        del limit["time_based"]
    before = target.cpu() if target.pid else 0.0
    job = rig.fio(target, group_reporting=1, **(limit | options | more))
    sample = Sample(job, (target.cpu() if target.pid else 0.0) - before)
    if options["rw"] not in ("read", "randread"):
        target.settle()  # what a fast disk has left in the page cache is not written during another's turn
    return sample
