#!/usr/bin/env python3
"""Turns a directory of results (each program's --json) into docs/performance.md and its plots. What stands in the page outside
of the two marker lines is kept."""
import argparse
import json
import pathlib

import marks
import svg
from rig import ROOT, cell_text

BEGIN, END = "<!-- measured: begin (bench/report.py) -->", "<!-- measured: end -->"
ZFS_BEGIN, ZFS_END = "<!-- beside ZFS: begin (bench/report.py) -->", "<!-- beside ZFS: end -->"


def table(rows, columns=None):
    columns = columns or list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" if isinstance(rows[0].get(column), str) else "---:"
                                                                 for column in columns) + " |"]
    lines += ["| " + " | ".join(cell_text(row.get(column)).replace("|", "\\|") for column in columns) + " |" for row in rows]
    return "\n".join(lines)


class Page:
    """The measured part of the page, and the plots that it shows."""

    def __init__(self, folder):
        self.folder, self.parts = folder, []

    def add(self, *parts):
        self.parts += parts

    def plot(self, name, words, picture):
        (self.folder / f"performance-{name}.svg").write_text(picture, encoding="utf-8")
        self.add(f"![{words}](performance-{name}.svg)")


def throughput(page, tables):
    rows = tables["throughput.cells"]
    ratios = [column for column in rows[0] if "/" in column]
    page.add("## Throughput", "Requests a second, median of the rounds; hot and cold are the page caches.",
             table(rows, [column for column in rows[0] if column not in ratios]),
             "Ratios, each the median of those of the rounds; of the two kinds of qcow2 the better one counts.",
             table(rows, ["work", *ratios]), table(tables["throughput.summary"]))
    page.plot("throughput", "Ratios of throughput", svg.bars(
        "fvdfs beside others", "ratio (right of 1: fvdfs is faster)", [row["work"] for row in rows],
        {column: [row[column] for row in rows] for column in ratios if column != "with/without snapshots"}))
    page.add("The daemons over all of this:", table(tables["throughput.daemons"]))


def after_snapshot(page, tables):
    rows = tables["after_snapshot.cells"]
    works = list(dict.fromkeys(row["work"] for row in rows))
    by_target = {}
    for row in rows:
        by_target.setdefault(row["target"], {})[row["work"]] = row["after/before"]
    page.add("## Right after a snapshot of a full disk", table(rows))
    page.plot("after-snapshot", "Writes right after a snapshot", svg.bars(
        "Writes right after a snapshot", "rate after / rate before", works,
        {name: [found.get(work) for work in works] for name, found in by_target.items()}))


def snapshots(page, tables):
    rows = tables["snapshots.operations"]
    first = ["target", "disk", "snapshots"]
    page.add("## Snapshot operations", "Milliseconds, on a quiet disk and beside a 4 KiB O_DIRECT writer.",
             table(rows, first + ["create ms", "goto ms", "delete ms", "busy create ms", "busy delete ms"]),
             "What the writer feels: the longest write around each operation (median and longest), and its 99.9th "
             "percentile while one operation follows another, "
             "without any, and of the same writes into the page cache of a file of the host.",
             table(rows, first + ["stall ms", "longest stall ms", "p99.9 ms", "p99.9 quiet ms", "p99.9 host ms",
                                  "longest quiet ms", "IOPS", "IOPS quiet"]),
             "The same of a writer that makes 4,000 writes a second, as far as the disk can.",
             table(rows, first + ["paced stall ms", "longest paced stall ms", "p99.9 paced ms", "IOPS paced"]),
             "From the daemon's start to a usable disk, and its memory.",
             table(rows, first + ["start ms", "cold start ms", "RSS KiB started", "after writes", "after as many again"]))
    series = {}
    for row in rows:
        series.setdefault(f"{row['target']}, {row['disk']}", []).append((row["snapshots"], row["create ms"]))
    page.plot("snapshots", "Time of a snapshot", svg.lines("Taking a snapshot", "snapshots that exist", "milliseconds",
                                                          {name: found for name, found in series.items() if len(found) > 1}))


def often(page, tables):
    rows = tables["often.often"]
    page.add("## Snapshot after snapshot, never at rest",
             "Random 4 KiB writes all over the disk, then a snapshot, and again without a pause: each line is what the writes after "
             "that many snapshots cost.", table(rows))
    series = {}
    for row in rows:
        series.setdefault(row["target"], []).append((row["snapshots"], row["bytes a byte"]))
    page.plot("often", "Bytes written for each byte asked", svg.lines(
        "Written at random between snapshots, never at rest", "snapshots before", "bytes written a byte asked", series))


def postmark(page, tables):
    page.add("## PostMark", "ext4 on a loop device on each disk; files created a second until all of it is on the disk.",
             table(tables["postmark.postmark"]))


def scaling(page, tables):
    rows = tables["scaling.scaling"]
    operations = ("create", "goto", "delete", "start")
    page.add("## How costs grow",
             "The prediction is the first point of each line plus the bytes of tables, directory and counts that the format "
             "asks to be read and written beyond it, and walks over the table in memory, at the host's rate.")
    for sweep, label in (("virtual size", "GiB of virtual size"), ("snapshots", "snapshots"),
                         ("percent overwritten", "percent of the chunks overwritten since the last snapshot")):
        chosen = [row for row in rows if row["sweep"] == sweep]
        if not chosen:
            continue
        page.plot(f"scaling-{sweep.replace(' ', '-')}", f"Costs against {sweep}", svg.lines(
            f"Costs against {sweep}", label, "milliseconds",
            {name: [(row["at"], row[f"{name} ms"]) for row in chosen] for name in operations},
            {name: [(row["at"], row[f"{name} predicted"]) for row in chosen] for name in operations}))
        page.plot(f"scaling-{sweep.replace(' ', '-')}-use", f"Memory and rate against {sweep}", svg.lines(
            f"Memory and random writes against {sweep}", label, "KiB; writes a second",
            {name: [(row["at"], row[name]) for row in chosen] for name in ("own memory KiB", "writes/s")},
            {"own memory KiB": [(row["at"], row["memory predicted"]) for row in chosen],
             "writes/s": [(row["at"], row["writes/s predicted"]) for row in chosen]}))
        page.add(table([{sweep: row["at"]} | {key: value for key, value in row.items() if key not in ("sweep", "at")}
                        for row in chosen]))


def refcounts(page, tables):
    page.add("## What writes touch")
    for key in ("touched", "same"):
        rows = tables[f"refcounts.{key}"]
        page.add(table([{"": name} | {str(number): row[name] for number, row in enumerate(rows, 1)} for name in rows[0]]))


def micro(page, tables):
    page.add("## The library alone", "On an image in memory; nanoseconds a call.", table(tables["micro.micro"]))


def zfs(machine, tables):
    """What zfs.py measured, in a guest of its own and so a part of its own."""
    machine = machine | tables["zfs.setup"][0]
    parts = ["Measured in one run, in turns, by `bench/guest/run.sh` in a virtual machine. Read the ratios.",
             table([{"machine": key, "": str(value)} for key, value in machine.items()])]
    if "zfs.cells" in tables:
        rows = tables["zfs.cells"]
        parts += ["Requests a second, median of the rounds; writes until all of it is on the device. Cold: nothing cached; hot: "
                  "page cache or ARC.", table(rows, [column for column in rows[0] if "/" not in column]),
                  "Ratios, each the median of those of the rounds; the best ZFS is the best of the four in a round.",
                  table(rows, ["work", *(column for column in rows[0] if "/" in column)]), table(tables["zfs.summary"])]
    if "zfs.after" in tables:
        parts += ["Before and right after a snapshot of a full disk, with the bytes that reached the device for each byte asked.",
                  table(tables["zfs.after"])]
    if "zfs.operations" in tables:
        parts += ["Snapshot operations, in milliseconds. \"To the oldest\" keeps the newer snapshots: ZFS can only clone there.",
                  table(tables["zfs.operations"])]
    return "\n\n".join(parts)


def load(folder):
    """{"program.key": rows} of all results in the folder, and the machine."""
    tables, machine = {}, {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "benchmarks" in content:  # Google Benchmark's own form
            tables["micro.micro"] = [{"benchmark": one["name"], "time": one["real_time"], "CPU time": one["cpu_time"]}
                                     for one in content["benchmarks"]]
            continue
        machine = machine or content["machine"]
        tables |= {f"{content['program']}.{one['key']}": one["rows"] for one in content["tables"]}
    return tables, machine


def write_page(path, measured, begin=BEGIN, end=END):
    block = f"{begin}\n\n{measured}\n\n{end}"
    old = path.read_text(encoding="utf-8") if path.exists() else f"# Performance\n\n{begin}\n{end}\n"
    if begin not in old:
        old += f"\n{begin}\n{end}\n"
    head, rest = old.split(begin, 1)
    path.write_text(head + block + rest.split(end, 1)[1], encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=pathlib.Path, help="directory of the programs' JSON")
    parser.add_argument("--docs", type=pathlib.Path, default=ROOT / "docs", help="where the page goes (default: docs)")
    options = parser.parse_args()
    tables, machine = load(options.results)
    if "zfs.setup" in tables:
        write_page(options.docs / "performance.md", zfs(machine, tables), ZFS_BEGIN, ZFS_END)
        return
    page = Page(options.docs)
    page.add("Measured by the programs of `bench/run.py` ([bench/README.md](../bench/README.md)). Read the ratios: absolute figures "
             "belong to this machine.", table([{"machine": key, "": str(value)} for key, value in machine.items()]),
             "## Marks", table(marks.rows(tables)))
    for section in (throughput, after_snapshot, often, snapshots, postmark, scaling, refcounts, micro):
        if any(key.startswith(f"{section.__name__}.") for key in tables):
            section(page, tables)
    write_page(options.docs / "performance.md", "\n\n".join(page.parts))


if __name__ == "__main__":
    main()
