"""ZFS disks for zfs.py, in a pool that is there for nothing else: volumes, and files on datasets.

Snapshots are made, gone back to and deleted through libzfs_core, the library below the `zfs` command, so that the time is that
of the operation and not that of a process's start, just as for fvdfs's mkdir and qemu's QMP.
"""
import ctypes
import os
import subprocess
import time

import disks
from rig import device_written, milliseconds, run, wait_until

UNIQUE_NAME = 1


def succeed(what, error):
    if error:
        raise OSError(error, os.strerror(error), what)


class Library:
    """libzfs_core's calls on one snapshot."""

    def __init__(self):
        self.core, self.pairs = ctypes.CDLL("libzfs_core.so.3"), ctypes.CDLL("libnvpair.so.3")
        succeed("libzfs_core", self.core.libzfs_core_init())

    def on_list(self, call, name, *arguments):
        names, errors = ctypes.c_void_p(), ctypes.c_void_p()
        succeed("nvlist", self.pairs.nvlist_alloc(ctypes.byref(names), UNIQUE_NAME, 0))
        try:
            succeed("nvlist", self.pairs.nvlist_add_boolean(names, name.encode()))
            succeed(name, call(names, *arguments, ctypes.byref(errors)))
        finally:
            self.pairs.nvlist_free(names)
            self.pairs.nvlist_free(errors)

    def snapshot(self, name):
        self.on_list(self.core.lzc_snapshot, name, None)

    def destroy(self, name):
        self.on_list(self.core.lzc_destroy_snaps, name, 0)

    def rollback(self, dataset, name):
        succeed(name, self.core.lzc_rollback_to(dataset.encode(), name.encode()))


class Pool:
    """A pool on a device; its disks are all of the datasets in it."""

    def __init__(self, device, name="fvdbench"):
        self.device, self.name, self.disks = device, name, []
        run("zpool", "create", "-f", "-o", "ashift=12", "-O", "atime=off", "-O", "compression=off", "-m", f"/{name}", name,
            device)
        self.library = Library()

    def destroy(self):
        run("zpool", "destroy", "-f", self.name)

    def cool(self):
        """Empties what ZFS has cached of the pool. There is no way to do that for one disk alone."""
        end = time.monotonic() + 60
        while subprocess.run(["zpool", "export", self.name], capture_output=True, check=False).returncode != 0:
            if time.monotonic() > end:
                raise TimeoutError("zpool export: the pool stays busy")
            time.sleep(0.2)  # udev looks at volumes that have changed
        run("zpool", "import", "-d", self.device, self.name)
        for disk in self.disks:
            disk.warm, disk.cold = False, True
            wait_until(disk.disk.exists, str(disk.disk), step=0.01)


class Zfs(disks.Target):
    """What a volume and a file on a dataset have in common; no daemon of its own."""

    pool = None  # of all disks, set before the first is made

    def __init__(self, directory, size, name=None):
        super().__init__(directory, size, name)
        self.cold = False  # nothing has been read or written since the pool's cache was emptied
        self.dataset = f"{self.pool.name}/{self.name.replace(' ', '-')}"

    def made(self):
        wait_until(self.disk.exists, str(self.disk), step=0.01)
        self.pool.disks.append(self)

    def destroy(self):
        if self in self.pool.disks:
            self.pool.disks.remove(self)
            run("zfs", "destroy", "-R", "-f", self.dataset)
        super().destroy()

    def stop(self):
        pass

    def written(self):
        return None

    def device_written(self):
        return device_written(self.pool.device)

    def cool(self):
        if not self.cold:
            self.pool.cool()

    def settle(self):
        super().settle()
        run("zpool", "sync", self.pool.name)

    def create(self, name):
        self.pool.library.snapshot(f"{self.dataset}@{name}")

    def delete(self, name):
        self.pool.library.destroy(f"{self.dataset}@{name}")

    def goto(self, name):
        """Only to the newest snapshot: ZFS would have to destroy those after it."""
        return milliseconds(lambda: self.pool.library.rollback(self.dataset, f"{self.dataset}@{name}"))

    def goto_destroying(self, name):
        """To any snapshot, at the price of all that are newer."""
        return milliseconds(lambda: run("zfs", "rollback", "-r", f"{self.dataset}@{name}"))

    def reach(self, name):
        """A disk with the snapshot's content that can be written, and nothing destroyed: a clone, of another name."""
        clone = f"{self.dataset}.clone"

        def make():
            run("zfs", "clone", f"{self.dataset}@{name}", clone)
            wait_until(self.of_clone(clone).exists, clone)

        taken = milliseconds(make)
        run("udevadm", "settle")
        run("zfs", "destroy", clone)
        return taken

    def create_command(self, name):
        return ["zfs", "snapshot", f"{self.dataset}@{name}"]


class Volume(Zfs):
    block = None

    def __init__(self, directory, size, name=None):
        super().__init__(directory, size, name)
        run("zfs", "create", "-s", "-o", f"volblocksize={self.block}", "-V", size, self.dataset)
        self.image = self.disk = self.of_clone(self.dataset)
        self.made()

    def of_clone(self, dataset):
        return disks.pathlib.Path("/dev/zvol") / dataset


class File(Zfs):
    record = None

    def __init__(self, directory, size, name=None):
        super().__init__(directory, size, name)
        run("zfs", "create", "-o", f"recordsize={self.record}", self.dataset)
        self.image = self.disk = self.of_clone(self.dataset)
        self.disk.touch()
        os.truncate(self.disk, size)
        self.made()

    def of_clone(self, dataset):
        return disks.pathlib.Path("/") / dataset / "disk.raw"


class Volume16k(Volume):
    name, block = "zvol 16k", "16k"


class Volume4k(Volume):
    name, block = "zvol 4k", "4k"


class File128k(File):
    name, record = "zfs file 128k", "128k"


class File4k(File):
    name, record = "zfs file 4k", "4k"


KINDS = [Volume16k, Volume4k, File128k, File4k]
