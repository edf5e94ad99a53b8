"""The disks that the benchmarks compare, each with the daemon that shows it as a file:

raw          a preallocated file of the host, no daemon: what the machine can do
floor        the same behind passthrough.cpp: what FUSE can do
fvdfs        ours
qcow2        qemu-storage-daemon's FUSE export of qcow2, all defaults
qcow2 ext    the same with extended_l2=on,lazy_refcounts=on: the best that qcow2 has
"""
import atexit
import contextlib
import errno
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import time

from rig import build_of, device_written, drop_from_cache, milliseconds, program, run, wait_until


class Target:
    """A disk image and the daemon that shows its current state as the file `disk`."""

    name = ""

    def __init__(self, directory, size, name=None):
        self.name = name or self.name
        self.directory = pathlib.Path(directory) / self.name.replace(" ", "-")
        self.directory.mkdir(parents=True)
        self.size = size
        self.pid = None
        self.warm = False  # the page caches hold the disk
        atexit.register(self.destroy)

    def destroy(self):
        """Ends the daemon, by force where it does not end in order, and removes the image."""
        atexit.unregister(self.destroy)
        try:
            if self.pid is not None:
                self.stop()
        except (SystemExit, OSError, ValueError, subprocess.SubprocessError) as problem:
            print(problem, file=sys.stderr)
            self.kill()
            self.unmount("-z")
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self):
        try:
            os.kill(self.pid, 9)
        except (OSError, TypeError):
            pass

    def unmount(self, *options):
        return subprocess.run(["fusermount3", "-u", *options, str(self.mounted)], capture_output=True, timeout=60,
                              check=False).returncode == 0

    def written(self):
        """Bytes that the daemon has given to the system in write calls. What it caused to be written to storage is not
        told by its write_bytes: a kernel with large folios counts all of one for a small write into it."""
        with open(f"/proc/{self.pid}/io", encoding="ascii") as file:
            return int(dict(line.split(": ") for line in file)["wchar"])

    def memory(self):
        """Resident kibibytes: all, and those that are the daemon's own and not a mapped file's."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            values = dict(line.split(":", 1) for line in file)
        return int(values["VmRSS"].split()[0]), int(values["RssAnon"].split()[0])

    def cpu(self):
        """Seconds of processor time that the daemon has used."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def allocated(self):
        return os.stat(self.image).st_blocks * 512

    def device_written(self):
        return device_written(self.directory)

    def cool(self):
        """Nothing of the disk is cached any more."""
        drop_from_cache(self.image)
        drop_from_cache(self.disk)

    def settle(self):
        """All that was written lies on the storage, so that nothing of it is written during what is measured next."""
        descriptor = os.open(self.disk, os.O_WRONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        run("sync", "-f", self.directory)

    def reach(self, name):
        """Goes to any snapshot without the loss of another; the time it took, in milliseconds."""
        return self.goto(name)


class Fvd(Target):
    name = "fvdfs"
    SETTLE_SECONDS = 20.0  # at most

    def settle(self):
        """Also when what was freed before has been given back to the host."""
        super().settle()
        given, end = None, time.monotonic() + self.SETTLE_SECONDS
        while (now := self.metrics()["fvd_zero_bytes_total"]) != given and time.monotonic() < end:
            given = now
            time.sleep(0.3)
        run("sync", "-f", self.directory)

    def __init__(self, directory, size, name=None):
        super().__init__(directory, size, name)
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

    def create_command(self, name):
        return ["mkdir", str(self.snapshots / name)]

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
                if problem.errno != errno.EBUSY:
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
    name = "raw"
    make = ("fallocate", "-l")

    def __init__(self, directory, size, name=None):
        super().__init__(directory, size, name)
        self.image = self.disk = self.directory / "disk.raw"
        run(*self.make, size, self.image)

    def stop(self):
        pass


class Sparse(Raw):
    """A file of the host that has storage only where it was written, as the images have."""

    name = "sparse"
    make = ("truncate", "-s")


class Foreground(Target):
    """A daemon that runs as our child and is mounted over a file."""

    def __init__(self, directory, size, name=None):
        super().__init__(directory, size, name)
        self.mounted = self.disk = self.directory / "disk"
        self.disk.touch()
        self.process = None

    def start(self):
        start = time.perf_counter()
        # Not in our process group: Ctrl-C is ours, and ends the daemon in order.
        self.process = subprocess.Popen(self.command_line(), start_new_session=True)
        self.pid = self.process.pid
        wait_until(lambda: os.stat(self.disk).st_size == self.size or self.process.poll() is not None, self.name)
        if self.process.poll() is not None:
            sys.exit(f"{self.name}: the daemon ended by itself")
        return (time.perf_counter() - start) * 1000

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=120)
        self.pid = self.process = None


class Floor(Foreground):
    name = "floor"

    def __init__(self, directory, size, name=None):
        super().__init__(directory, size, name)
        self.image = self.directory / "disk.raw"
        run("fallocate", "-l", size, self.image)
        self.start()

    def command_line(self):
        return [str(build_of("fvd_bench_passthrough")), str(self.image), str(self.disk)]


class Qcow2(Foreground):
    name = "qcow2"
    options = None

    def __init__(self, directory, size, name=None):
        super().__init__(directory, size, name)
        self.image = self.directory / "disk.qcow2"
        self.control = self.directory / "qmp"
        self.channel = None
        self.flush = True
        run("qemu-img", "create", "-q", "-f", "qcow2", *(["-o", self.options] if self.options else []), self.image, size)
        self.start()

    def command_line(self):
        return ["qemu-storage-daemon",
                "--blockdev", f"file,node-name=file,filename={self.image}{'' if self.flush else ',cache.no-flush=on'}",
                "--blockdev", "qcow2,node-name=disk,file=file,discard=unmap",
                "--export", f"fuse,id=export,node-name=disk,mountpoint={self.disk},writable=on",
                "--chardev", f"socket,id=control,path={self.control},server=on,wait=off", "--monitor", "chardev=control"]

    def start(self):
        taken = super().start()
        wait_until(self.control.exists, "qemu's control socket")
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.control))
        self.channel = connection.makefile("rw", encoding="utf-8")
        self.channel.readline()
        self.command("qmp_capabilities")
        return taken

    def stop(self):
        if self.channel:
            self.channel.close()
        super().stop()
        self.control.unlink(missing_ok=True)

    @contextlib.contextmanager
    def careless(self):
        """Without syncs meanwhile, to make many snapshots in less time."""
        for flush in (False, True):
            self.stop()
            self.flush = flush
            self.start()
            if not flush:
                yield

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


PEERS = [Qcow2, Qcow2Ext]


def kinds(options, *others):
    """The kinds of disk to compare: those given that are there, ours, and the peers unless they are left out."""
    found = [kind for kind in others if kind is not Floor or build_of("fvd_bench_passthrough").exists()] + [Fvd]
    if options.no_peer or not shutil.which("qemu-storage-daemon"):
        return found
    return found + PEERS
