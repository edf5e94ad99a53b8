"""What the benchmarks share: running programs, fio, what a benchmark's command line has, tables and JSON.

Each benchmark runs ours and what it is compared with (disks.py) in the same run, in turns, because only the ratio means
anything on a machine that others use too.
"""
import argparse
import atexit
import json
import os
import pathlib
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


def build_of(name):
    return pathlib.Path(os.environ.get("FVD_BUILD_DIR") or ROOT / "build") / name


def program(variable, name):
    path = os.environ.get(variable) or build_of(name)
    if not os.access(path, os.X_OK):
        sys.exit(f"{path} is not there: build first (cmake -S . -B build && cmake --build build), or set {variable}")
    return str(path)


def run(*command, timeout=600, stdin=None):
    """Runs a command and returns its output; what fails ends the benchmark with the command's own words."""
    with subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except BaseException:
            process.terminate()  # killed at once, fio would leave its jobs behind
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: status {process.returncode}\n{out}{err}")
    return out


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


def device_written(path):
    """Bytes written to the device under a file system since it is there; None where the system does not tell."""
    device = os.stat(path).st_dev
    try:
        text = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text(encoding="ascii")
    except OSError:
        return None
    return int(text.split()[6]) * 512


def fio_command(target, **options):
    """A fio job on the target's disk; options as in a job file, 4k random O_DIRECT writes one at a time if not given."""
    job = {"rw": "randwrite", "bs": "4k", "ioengine": "libaio", "iodepth": 1, "direct": 1, "size": target.size,
           "randrepeat": 0, "random_generator": "tausworthe64", "norandommap": 1, "allow_file_create": 0,
           "invalidate": 0} | options  # what the caches hold is the caller's affair
    return ["fio", "--name=job", f"--filename={target.disk}", "--output-format=json", "--eta=never"] + [
        f"--{key}={value}" for key, value in job.items()]


def fio_result(text):
    return json.loads(text[text.index("{"):])["jobs"][0]


def fio(target, timeout=3600, **options):
    return fio_result(run(*fio_command(target, **options), timeout=timeout))


def for_seconds(seconds):
    """fio's options for a job that ends after a time and not after an amount."""
    return {"time_based": 1, "runtime": f"{round(seconds * 1000)}ms"}


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
    return max(first, last)


def median(values):
    return statistics.median(values)


def median_if_known(values):
    """The median; None when any of the values is."""
    values = list(values)
    return None if None in values else median(values)


def geometric_mean(values):
    return statistics.geometric_mean(values) if values else None


def numbers(text):
    return [int(word) for word in text.split(",") if word]


def size_text(size):
    unit, name = (TIB, "TiB") if size >= TIB else (GIB, "GiB") if size >= GIB else (MIB, "MiB")
    return f"{size / unit:g} {name}"


def stopped(number, _):
    """Ends the program in order, so that what it made is removed; a second signal does not cut that short."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    sys.exit(f"stopped by {signal.Signals(number).name}")


def arguments(description, **more):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", metavar="FILE", help="write the results to FILE as well")
    parser.add_argument("--dir", default="/var/tmp", help="where the images go (default: /var/tmp)")
    parser.add_argument("--no-peer", action="store_true", help="leave qcow2 out")
    for name, (default, text) in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, type=type(default),
                            help=f"{text} (default: {default})")
    options = parser.parse_args()
    options.work = tempfile.mkdtemp(prefix="fvdfs-bench.", dir=options.dir)
    atexit.register(shutil.rmtree, options.work, ignore_errors=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stopped)
    return options


def first_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.split("\n")[0]
    except FileNotFoundError:
        return ""


def machine(directory):
    """What a reader of the figures must know of where they were measured."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    with open("/etc/os-release", encoding="utf-8") as file:
        system = next((line.split("=", 1)[1].strip().strip('"') for line in file if line.startswith("PRETTY_NAME")), "")
    return {
        "processors": os.cpu_count(), "model": model,
        "memory GiB": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1),
        "system": system, "kernel": os.uname().release,
        "file system": first_line("findmnt", "-no", "FSTYPE", "-T", directory),
        "fvdfs": first_line(program("FVDFS_BINARY", "fvdfs"), "--version"), "fio": first_line("fio", "--version"),
        "qemu": first_line("qemu-img", "--version"), "date": time.strftime("%F %H:%M UTC", time.gmtime()),
        "commit": os.environ.get("FVD_COMMIT") or first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
    }


def cell_text(value):
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def show(title, rows):
    """Prints rows (dictionaries with the same keys) as a table."""
    names = list(rows[0])
    cells = [names] + [[cell_text(row[name]) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    print(f"\n{title}")
    for line in cells:
        print("  ".join(value.ljust(width) for value, width in zip(line, widths)).rstrip())


def report(options, *tables):
    """Prints tables, each (key, title, rows), and writes them as JSON if asked to."""
    for _, title, rows in tables:
        show(title, rows)
    if options.json:
        given = {key: value for key, value in vars(options).items() if key not in ("json", "work", "dir")}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"program": pathlib.Path(sys.argv[0]).stem, "machine": machine(options.dir), "options": given,
                       "tables": [{"key": key, "title": title, "rows": rows} for key, title, rows in tables]},
                      file, indent=1)
            file.write("\n")
