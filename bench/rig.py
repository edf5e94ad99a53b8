"""What the benchmarks share: a mounted image, its qcow2 peer, fio, tables and JSON.

Each benchmark runs ours and the peer in the same run, because only the ratio means anything on a machine that others
use too. The peer is a qcow2 image that qemu-storage-daemon exports through FUSE with its defaults.
"""
import argparse
import atexit
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def program(variable, name):
    path = os.environ.get(variable) or ROOT / "build" / name
    if not os.access(path, os.X_OK):
        sys.exit(f"{path} is not there: build first (cmake -S . -B build && cmake --build build), or set {variable}")
    return str(path)


def run(*command, timeout=600):
    """Runs a command and returns its output; what fails ends the benchmark with the command's own words."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def wait_until(condition, what, seconds=60, step=0.0005):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited {seconds} s in vain: {what}")
        time.sleep(step)


def milliseconds(action):
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def drop_from_cache(path):
    with open(path, "rb") as file:
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Target:
    """A disk image and the daemon that shows its current state as the file `disk`."""

    name = ""

    def __init__(self, directory, size):
        self.directory = pathlib.Path(directory) / self.name.replace(" ", "-")
        self.directory.mkdir(parents=True)
        self.size = size
        self.pid = None
        atexit.register(self.destroy)

    def destroy(self):
        if self.pid is not None:
            try:
                self.stop()
            except SystemExit as problem:
                print(problem, file=sys.stderr)
                os.kill(self.pid, signal.SIGKILL)
                self.unmount("-z")
        shutil.rmtree(self.directory, ignore_errors=True)

    def unmount(self, *options):
        return subprocess.run(["fusermount3", "-u", *options, str(self.mounted)], capture_output=True, timeout=60,
                              check=False).returncode == 0

    def restart(self):
        self.stop()
        self.start()

    def written(self):
        """Bytes that the daemon has given to the system in write calls, and that it caused to be written to storage."""
        with open(f"/proc/{self.pid}/io", encoding="ascii") as file:
            values = dict(line.split(": ") for line in file)
        return int(values["wchar"]), int(values["write_bytes"])

    def memory(self):
        """Resident kibibytes: all, and those that are the daemon's own and not a mapped file's."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            values = dict(line.split(":", 1) for line in file)
        return int(values["VmRSS"].split()[0]), int(values["RssAnon"].split()[0])

    def allocated(self):
        return os.stat(self.image).st_blocks * 512


class Fvd(Target):
    name = "fvdfs"

    def __init__(self, directory, size):
        super().__init__(directory, size)
        self.image = self.directory / "disk.fvd"
        self.mounted = self.directory / "mount"
        self.mounted.mkdir()
        self.snapshots = self.mounted / "snapshots"
        self.disk = self.mounted / "current-state"
        self.pidfile = self.directory / "pid"
        self.fvd, self.fvdfs = program("FVD_BINARY", "fvd"), program("FVDFS_BINARY", "fvdfs")
        run(self.fvd, "create", self.image, size)
        self.start()

    def start(self):
        """The daemon's start, until the disk answers; the time it took, in milliseconds."""
        start = time.perf_counter()
        run(self.fvdfs, "--pidfile", self.pidfile, self.image, self.mounted)
        os.stat(self.disk)
        taken = (time.perf_counter() - start) * 1000
        self.pid = int(self.pidfile.read_text())
        return taken

    def stop(self):
        wait_until(self.unmount, "unmount", step=0.1)
        wait_until(lambda: not self.pidfile.exists(), "the daemon to end")
        self.pid = None

    def create(self, name):
        os.mkdir(self.snapshots / name)

    def delete(self, name):
        os.rmdir(self.snapshots / name)

    def goto(self, name):
        """Goes to a snapshot; the time it took, in milliseconds. A writer that has just ended may need a moment."""
        for _ in range(100):
            start = time.perf_counter()
            try:
                os.rename(self.snapshots / name, self.snapshots / "current-state")
                return (time.perf_counter() - start) * 1000
            except OSError as problem:
                if problem.errno != 16:
                    raise
            time.sleep(0.05)
        sys.exit(f"goto {name}: current-state stays busy")

    def metrics(self):
        lines = (self.mounted / ".fvd" / "metrics").read_text().splitlines()
        return {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}

    def check(self):
        run(self.fvd, "check", self.image)

    def count_region(self):
        """(first byte, last byte + 1) of the reference counts in the image file, from header and superblock."""
        with open(self.image, "rb") as file:
            header = file.read(4096)
            chunk = 1 << struct.unpack_from("<I", header, 24)[0]
            data_offset, slot0, slot1 = struct.unpack_from("<QQQ", header, 48)
            slots = []
            for offset in (slot0, slot1):
                file.seek(offset)
                slots.append(file.read(4096))
            block = max((s for s in slots if s[:8] == b"FVDSUPER"), key=lambda s: struct.unpack_from("<Q", s, 40)[0])
            first, _, length = struct.unpack_from("<IIQ", block, 144)
            start = data_offset + (first - 1) * chunk
            file.seek(start)
            if file.read(8) != b"FVDREFCT":
                sys.exit("the reference counts are not where the superblock says")
            return start, start + length


class Raw(Target):
    """A preallocated file of the host, without any daemon: what the machine itself can do."""

    name = "raw"

    def __init__(self, directory, size):
        super().__init__(directory, size)
        self.image = self.disk = self.directory / "disk.raw"
        run("fallocate", "-l", size, self.image)
        self.pid = os.getpid()

    def start(self):
        return 0.0

    def stop(self):
        pass


class Qcow2(Target):
    name = "qcow2"
    options = None

    def __init__(self, directory, size):
        super().__init__(directory, size)
        self.image = self.directory / "disk.qcow2"
        self.mounted = self.disk = self.directory / "disk"
        self.disk.touch()
        self.control = self.directory / "qmp"
        self.channel = self.process = None
        run("qemu-img", "create", "-q", "-f", "qcow2", *(["-o", self.options] if self.options else []), self.image, size)
        self.start()

    def start(self):
        start = time.perf_counter()
        self.process = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", f"file,node-name=file,filename={self.image}",
             "--blockdev", "qcow2,node-name=disk,file=file,discard=unmap",
             "--export", f"fuse,id=export,node-name=disk,mountpoint={self.disk},writable=on",
             "--chardev", f"socket,id=control,path={self.control},server=on,wait=off", "--monitor", "chardev=control"])
        wait_until(lambda: os.stat(self.disk).st_size == self.size or self.process.poll() is not None, "qemu's export")
        taken = (time.perf_counter() - start) * 1000
        self.pid = self.process.pid
        wait_until(self.control.exists, "qemu's control socket")
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.control))
        self.channel = connection.makefile("rw", encoding="utf-8")
        self.channel.readline()
        self.command("qmp_capabilities")
        return taken

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=120)
        self.channel.close()
        self.pid = self.process = None

    def command(self, command, **values):
        self.channel.write(json.dumps({"execute": command, "arguments": values}) + "\n")
        self.channel.flush()
        while True:
            answer = json.loads(self.channel.readline())
            if "error" in answer:
                sys.exit(f"qemu: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return

    def create(self, name):
        self.command("blockdev-snapshot-internal-sync", device="disk", name=name)

    def delete(self, name):
        self.command("blockdev-snapshot-delete-internal-sync", device="disk", name=name)

    def goto(self, name):
        """qemu-storage-daemon cannot, so qemu-img does it between two runs of it; only qemu-img's time counts."""
        self.stop()
        taken = milliseconds(lambda: run("qemu-img", "snapshot", "-a", name, self.image))
        self.start()
        return taken


class Qcow2Ext(Qcow2):
    name = "qcow2 ext"
    options = "extended_l2=on,lazy_refcounts=on"


def fio_command(target, **options):
    """A fio job on the target's disk; options as in a job file, 4k random O_DIRECT writes one at a time if not given."""
    job = {"rw": "randwrite", "bs": "4k", "ioengine": "libaio", "iodepth": 1, "direct": 1, "size": target.size,
           "randrepeat": 0, "random_generator": "tausworthe64", "norandommap": 1, "allow_file_create": 0} | options
    return ["fio", "--name=job", f"--filename={target.disk}", "--output-format=json", "--eta=never"] + [
        f"--{key}={value}" for key, value in job.items()]


def fio_result(text):
    return json.loads(text[text.index("{"):])["jobs"][0]


def fio(target, timeout=3600, **options):
    return fio_result(run(*fio_command(target, **options), timeout=timeout))


def fill(target, length, **options):
    """Writes the first `length` bytes of the disk in 1 MiB requests, or as the options say."""
    fio(target, **({"rw": "write", "bs": "1M", "size": length, "iodepth": 4, "end_fsync": 1} | options))


def scatter(target, total):
    """Writes `total` bytes in 64 KiB pieces over the whole disk."""
    fio(target, bs="64k", io_size=total, iodepth=16, end_fsync=1)


def poke(target, number):
    """A small write, so that a snapshot after it differs from the one before."""
    descriptor = os.open(target.disk, os.O_WRONLY)
    os.pwrite(descriptor, struct.pack("<Q", number) * 512, (number * 7919 * MIB) % target.size)
    os.close(descriptor)


def add_snapshots(target, first, last, limit_seconds=None):
    """Snapshots with the numbers first to last - 1; returns how many there are when time is up."""
    end = time.monotonic() + limit_seconds if limit_seconds else None
    for number in range(first, last):
        if end and time.monotonic() > end:
            return number
        poke(target, number)
        target.create(f"s{number}")
    return last


def median(values):
    return statistics.median(values)


def arguments(description, **more):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", metavar="FILE", help="write the results to FILE as well")
    parser.add_argument("--dir", default="/tmp", help="where the images go (default: /tmp)")
    parser.add_argument("--no-peer", action="store_true", help="leave qcow2 out")
    for name, (default, text) in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, type=type(default),
                            help=f"{text} (default: {default})")
    options = parser.parse_args()
    options.work = tempfile.mkdtemp(prefix="fvdfs-bench.", dir=options.dir)
    atexit.register(shutil.rmtree, options.work, ignore_errors=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("stopped by a signal"))
    return options


def targets(options):
    return [Fvd] if options.no_peer or not shutil.which("qemu-storage-daemon") else [Fvd, Qcow2]


def report(options, title, rows):
    """Prints rows (dictionaries with the same keys) as a table, and writes them as JSON if asked to."""
    print(f"\n{title}")
    names = list(rows[0])

    def text(value):
        return f"{value:.3g}" if isinstance(value, float) and abs(value) < 100 else (
            f"{value:.0f}" if isinstance(value, float) else "-" if value is None else str(value))

    cells = [names] + [[text(row[name]) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    for line in cells:
        print("  ".join(value.ljust(width) for value, width in zip(line, widths)).rstrip())
    if options.json:
        machine = {"cpus": os.cpu_count(), "kernel": os.uname().release, "time": time.strftime("%FT%TZ", time.gmtime())}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"title": title, "machine": machine, "rows": rows}, file, indent=2)
            file.write("\n")
