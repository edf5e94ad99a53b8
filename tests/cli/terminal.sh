#!/usr/bin/env bash
# Long jobs on a real terminal: a bar that is gone when they end, none in a pipe or on a dumb terminal; standard output
# holds the results only; a stream is neither written to a terminal nor read from one; colours only where they are wanted.
# ctest: TIMEOUT 120
set -euo pipefail
: "${FVD_BINARY:?the tool under test}"
command -v python3 >/dev/null || { echo "skipped: no python3 here" && exit 77; }

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
tar -xf "$top/tests/golden/v1/images.tar.xz" c_compact_blk64k.fvd base.raw 2>tar.log ||
  { echo "skipped: $(<tar.log)" && exit 77; }
head -c 12M /dev/urandom >disk.raw

timeout -k 5 100 python3 - <<'PYTHON'
import fcntl, os, pty, re, select, shutil, struct, subprocess, sys, termios

FVD = os.environ["FVD_BINARY"]
failures = 0


def expect(condition, what):
    global failures
    if not condition:
        failures += 1
        print("terminal:", what, file=sys.stderr)


def run(*arguments, terminal=(), stdin=None, environment=None, columns=0):
    """Runs fvd with the descriptors in `terminal` on one: its status, and what it wrote to 1, 2 and the terminal."""
    controller, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    ends = {fd: os.pipe() if fd not in terminal else (-fd, os.dup(end)) for fd in (1, 2)}
    given = os.dup(end) if 0 in terminal else os.open(stdin or os.devnull, os.O_RDONLY)
    variables = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
    process = subprocess.Popen([FVD, *arguments], stdin=given, stdout=ends[1][1], stderr=ends[2][1],
                               env={**variables, "TERM": "xterm", **(environment or {})})
    for descriptor in (end, given, ends[1][1], ends[2][1]):
        os.close(descriptor)
    said = {source: b"" for source in (ends[1][0], ends[2][0], controller)}
    open_ones = {source for source in said if source >= 0}
    while open_ones:
        for source in select.select(list(open_ones), [], [])[0]:
            try:
                piece = os.read(source, 1 << 16)
            except OSError:  # the terminal's last user is gone
                piece = b""
            said[source] += piece
            if not piece:
                open_ones.remove(source)
                os.close(source)
    return process.wait(), said[ends[1][0]], said[ends[2][0]], said[controller]


def prepare(image):
    """A copy of an original image, brought to today's version: it has partial chunks, and a base."""
    shutil.copy("c_compact_blk64k.fvd", image)
    subprocess.run([FVD, "upgrade", image], check=True, stdout=subprocess.DEVNULL)


subprocess.run([FVD, "convert", "-O", "fvd", "disk.raw", "disk.fvd"], check=True)
subprocess.run([FVD, "snapshot", "create", "disk.fvd", "s1"], check=True)
with open("stream", "wb") as stream:
    subprocess.run([FVD, "send", "disk.fvd", "s1"], check=True, stdout=stream)

# Each with what makes its image anew, and whether its length is known beforehand: then it has a bar however short it is.
jobs = {
    "convert": (["-O", "fvd", "disk.raw", "x.fvd"], None, True),
    "compare": (["disk.fvd", "disk.raw"], None, True),
    "check": (["disk.fvd"], None, True),
    "send": (["disk.fvd", "s1"], None, True),
    "receive": (["x.fvd"], lambda: subprocess.run([FVD, "create", "x.fvd", "12M"], check=True, stdout=subprocess.DEVNULL),
                True),
    "compact": (["x.fvd"], lambda: prepare("x.fvd"), True),
    "flatten": (["x.fvd"], lambda: prepare("x.fvd"), True),
    "upgrade": (["x.fvd"], lambda: shutil.copy("c_compact_blk64k.fvd", "x.fvd"), False),
}
for name, (arguments, make, has_bar) in jobs.items():
    def job(**how):
        if os.path.exists("x.fvd"):
            os.remove("x.fvd")
        if make:
            make()
        return run(name, *arguments, stdin="stream" if name == "receive" else None, **how)

    status, out, err, _ = job()
    expect(status == 0 and err == b"", f"{name} in a pipe: status {status}, {err!r}")
    expect(name == "send" or b"\x1b" not in out and b"\r" not in out, f"{name}: {out!r}")
    length = len(out)
    for variables in {}, {"NO_COLOR": "1"}:
        status, out, _, seen = job(terminal=(2,), environment=variables)
        expect(status == 0, f"{name} on a terminal: status {status}")
        expect(not has_bar or f"\r{name} [".encode() in seen and b"%" in seen, f"{name} has no bar: {seen!r}")
        expect(not seen or seen.startswith(b"\r") and seen.endswith(b"\r\x1b[K"), f"{name} leaves its bar: {seen[-80:]!r}")
        expect(b"\n" not in seen and not re.search(rb"\x1b\[[0-9;]*m", seen), f"{name} is more than a plain line: {seen!r}")
        expect(name == "compact" or len(out) == length, f"{name} prints something else to a pipe: {out[:200]!r}")
    for columns in 50, 20:  # A line that goes on in the next could not be taken away.
        widths = [len(line) for line in re.split(rb"\r|\x1b\[K", job(terminal=(2,), columns=columns)[3])]
        expect(max(widths) < columns, f"{name} needs more than {columns} columns: {max(widths)}")
    expect(job(terminal=(2,), environment={"TERM": "dumb"})[3] == b"", f"{name} has a bar on a dumb terminal")

with open("stream", "rb") as stream:
    expect(run("send", "disk.fvd", "s1", terminal=(2,))[1] == stream.read(), "the stream is another beside a bar")
status, _, err, seen = run("send", "disk.fvd", "s1", terminal=(1,))
expect(status == 2 and seen == b"" and b"terminal" in err and err.count(b"\n") == 1, f"send to a terminal: {status} {err!r}")
subprocess.run([FVD, "create", "--force", "x.fvd", "12M"], check=True, stdout=subprocess.DEVNULL)
status, out, err, _ = run("receive", "x.fvd", terminal=(0,))
expect(status == 2 and out == b"" and b"terminal" in err, f"receive from a terminal: {status} {err!r}")

for variables, coloured in ({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False):
    seen = run("tree", "disk.fvd", terminal=(1,), environment=variables)[3]
    expect((b"\x1b[" in seen) == coloured, f"tree with {variables}: {seen!r}")
expect(b"\x1b" not in run("tree", "disk.fvd")[1], "colours in a pipe")
sys.exit(failures != 0)
PYTHON
