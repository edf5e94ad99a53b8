#!/usr/bin/env python3
"""Runs the commands below for real and draws what a terminal shows of them: docs/demo.py OUT.svg

FVD_BINARY and FVDFS_BINARY name the two programs (default: those in build/). A command that fails ends it with an error.
"""
import html
import os
import pathlib
import subprocess
import sys
import tempfile
import time

SESSION = """\
fvd create vm.fvd 20G
mkdir vm; fvdfs vm.fvd vm; cd vm
mke2fs -q -t ext4 current-state              # a raw disk for any VM or tool
mkdir snapshots/fresh                        # take a snapshot
dd if=/dev/urandom of=current-state bs=1M count=256 conv=notrunc status=none
mkdir snapshots/upgraded                     # and another, of the upgrade that went wrong
e2fsck -n current-state 2>&1 | grep -m 1 Bad
mv snapshots/fresh snapshots/current-state   # go back
e2fsck -fn current-state 2>&1 | tail -n 1
cat .fvd/tree
mv snapshots/upgraded snapshots/broken       # rename
rmdir snapshots/broken                       # delete: nothing else changes
ls -l snapshots/fresh                        # each is a read-only disk
cd ..; fusermount3 -u vm
fvd check vm.fvd
"""
WIDTH, LINE, MARGIN = 880, 19, 18  # pixels
TYPING, READING = 0.9, 0.5  # seconds for a command, and more for each line that it says


def wait_for_end(pidfile):
    """The daemon closes the image after fusermount3 has returned."""
    for _ in range(300):
        if not pidfile.exists():
            return
        time.sleep(0.1)


def run_session(top):
    """Each command with the lines that it said."""
    with tempfile.TemporaryDirectory() as directory:
        names = pathlib.Path(directory, "bin")
        names.mkdir()
        pidfile = pathlib.Path(directory, "pid")
        fvdfs = os.environ.get("FVDFS_BINARY", top / "build/fvdfs")
        (names / "fvd").symlink_to(os.environ.get("FVD_BINARY", top / "build/fvd"))
        (names / "fvdfs").write_text(f'#!/bin/sh\nexec "{fvdfs}" --pidfile "{pidfile}" "$@"\n')
        (names / "fvdfs").chmod(0o755)
        path = f"{names}:{os.environ['PATH']}:/usr/sbin:/sbin"
        place = pathlib.Path(directory, "there")
        place.mkdir()
        said = []
        try:
            for command in SESSION.splitlines():
                script = f"cd '{place}'\n{command}\ncode=$?\npwd >&3\nexit $code"
                with tempfile.TemporaryFile("w+") as where:
                    done = subprocess.run(["bash", "-o", "pipefail", "-c", f"exec 3>&{where.fileno()}\n{script}"],
                                          pass_fds=[where.fileno()], env={**os.environ, "PATH": path, "LC_ALL": "C"},
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
                    where.seek(0)
                    place = pathlib.Path(where.read().strip() or place)
                if done.returncode and "e2fsck" not in command:
                    sys.exit(f"{command}: status {done.returncode}: {done.stdout}")
                said.append((command, done.stdout.splitlines()))
                if "fusermount3" in command:
                    wait_for_end(pidfile)
        finally:
            mountpoint = pathlib.Path(directory, "there/vm")
            if os.path.ismount(mountpoint):
                subprocess.run(["fusermount3", "-u", mountpoint], check=False)
            wait_for_end(pidfile)
    return said


def draw(said):
    """The session as SVG: the lines appear one after the other, or all at once where there is no animation."""
    rows, at = [], 0.3
    for command, lines in said:
        typed, mark, remark = command.partition("#")
        rows.append((at, f'<tspan class="p">$ </tspan>{html.escape(typed)}<tspan class="c">{html.escape(mark + remark)}</tspan>'))
        at += TYPING
        for line in lines:
            rows.append((at, f'<tspan class="o">{html.escape(line)}</tspan>'))
        at += READING * min(len(lines), 3)
    height = LINE * len(rows) + 2 * MARGIN + 22
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
           "<title>A terminal: an image is made and mounted, snapshots are taken, gone back to, renamed and deleted</title>",
           "<style>text{font:14px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#e6e6e6;white-space:pre}",
           ".p{fill:#7bd88f;font-weight:bold}.c{fill:#8b949e}.o{fill:#b9c4d0}@keyframes show{from{opacity:0}to{opacity:1}}",
           "@media (prefers-reduced-motion:no-preference){text{animation:show .01s linear both}}</style>",
           f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#16191f"/>']
    out += [f'<circle cx="{20 + 18 * i}" cy="16" r="5.5" fill="{colour}"/>' for i, colour in
            enumerate(("#ff5f57", "#febc2e", "#28c840"))]
    for i, (moment, row) in enumerate(rows):
        out.append(f'<text x="{MARGIN}" y="{MARGIN + 34 + LINE * i}" xml:space="preserve" '
                   f'style="animation-delay:{moment:.1f}s">{row}</text>')
    return "\n".join(out + ["</svg>", ""])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: docs/demo.py OUT.svg")
    drawn = draw(run_session(pathlib.Path(__file__).resolve().parent.parent))
    pathlib.Path(sys.argv[1]).write_text(drawn)
