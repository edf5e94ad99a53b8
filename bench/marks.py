"""What fvdfs is held to, and whether a run met it. Each mark is a sentence, the figure asked for, and where it is found."""


def least(rows, column):
    row = min(rows, key=lambda one: one[column])
    return row[column], row.get("work") or row.get("variant")


def most(rows, column):
    row = max(rows, key=lambda one: one[column])
    return row[column], row.get("work") or f"{row.get('disk')}, {row.get('snapshots')} snapshots"


def ours(rows, **wanted):
    return [row for row in rows if row["target"] == "fvdfs" and all(row[key] == value for key, value in wanted.items())]


def throughput(tables):
    rows = tables["throughput.cells"]
    hot = [row for row in rows if row["work"].endswith("buffered, hot")]
    other = [row for row in rows if row not in hot]
    means = {row["ratio"]: row["geometric mean"] for row in tables["throughput.summary"]}
    yield "every workload at least as fast as qcow2's better kind", ">=", 1.0, *least(rows, "fvdfs/best qcow2")
    yield "geometric mean over qcow2's better kind", ">=", 2.0, means["fvdfs/best qcow2"], ""
    yield "hot reads over the host's file", ">=", 0.9, *least(hot, "fvdfs/raw")
    yield "every other workload over the floor", ">=", 0.9, *least(other, "fvdfs/floor")
    yield "every workload with 1,000 snapshots over none", ">=", 0.97, *least(rows, "with/without snapshots")


def refcounts(tables):
    one, many = tables["refcounts.same"]
    metadata = [sum(value for key, value in row.items() if key.startswith("write{") and "data}" not in key)
                for row in (one, many)]
    yield "bytes of metadata with 1,000 snapshots over 1, for the same writes", "==", 1.0, metadata[1] / metadata[0], ""
    yield ("bytes of the reference counts that writes touch", "==", 0,
           tables["refcounts.touched"][0]["bytes of the counts in them"], "")


def after_snapshot(tables):
    rows = [row for row in ours(tables["after_snapshot.cells"]) if "rand write 4k" in row["work"]]
    yield "4 KiB random writes right after a snapshot over before", ">=", 0.95, *least(rows, "after/before")
    rows = [row for row in rows if "fsync each" not in row["work"]]  # there each write has a journal batch of its own
    yield "bytes written a byte asked there (without a sync each)", "<=", 1.05, *most(rows, "of the image")
    rows = [row for row in rows if "sync each" not in row["work"]]  # their data goes to the journal too
    yield "bytes written a byte asked there (without syncs)", "<=", 1.05, *most(rows, "of the image")


def snapshots(tables):
    rows = ours(tables["snapshots.operations"])
    for operation in ("create", "goto", "delete"):
        column = f"{operation} ms"
        yield f"{operation} at 1 TiB, ms", "<=", 40, *most(ours(rows, disk="1 TiB", snapshots=0), column)
        yield f"{operation} at 10 GiB with 1,000 snapshots, ms", "<=", 15, *most(
            ours(rows, disk="10 GiB", snapshots=1000), column)
    yield "99.9th percentile of a writer at 4,000 writes a second during snapshots, ms", "<=", 5, *most(rows, "p99.9 paced ms")
    yield "the longest write of that writer around an operation, median, ms", "<=", 5, *most(rows, "paced stall ms")
    yield "99.9th percentile of a writer at full speed, ms", "<=", 5, *most(rows, "p99.9 ms")
    large = ours(rows, disk="1 TiB", snapshots=1000)
    yield "start to usable mount at 1 TiB with 1,000 snapshots, ms", "<=", 40, *most(large, "start ms")
    yield "resident memory there, MiB", "<=", 16, max(large[0]["RSS KiB started"], large[0]["after as many again"]) / 1024, ""
    none = ours(rows, disk="1 TiB", snapshots=0)[0]
    yield ("resident memory with 1,000 snapshots over none, after start", "<=", 1.1,
           large[0]["RSS KiB started"] / none["RSS KiB started"], "")
    yield ("resident memory after twice the load over once", "<=", 1.05,
           large[0]["after as many again"] / large[0]["after writes"], "")


def scaling(tables):
    at = {row["at"]: row["create ms"] for row in tables["scaling.scaling"] if row["sweep"] == "snapshots"}
    yield "create with 10,000 snapshots over 10", "<=", 2.0, at[10000] / at[10], ""


def postmark(tables):
    rows = [row for row in tables["postmark.postmark"] if row["target"] == "qcow2"]
    fresh = [row for row in rows if "snapshot" not in row["variant"]]
    yield "PostMark over qcow2", ">=", 2.0, *least(fresh, "fvdfs/this")
    yield "PostMark over qcow2, the stretch", ">=", 3.49, *least(fresh, "fvdfs/this")
    after = [row for row in rows if row not in fresh]
    yield "PostMark over qcow2 right after a snapshot of a full disk", ">=", 2.0, *least(after, "fvdfs/this")


def rows(tables):
    """A row for each mark; those that this run did not measure say so. `tables`: {"program.key": rows}."""
    found = []
    for group in (throughput, refcounts, after_snapshot, snapshots, scaling, postmark):
        try:
            for what, sign, wanted, value, where in group(tables):
                met = value <= wanted if sign == "<=" else value >= wanted if sign == ">=" else value == wanted
                found.append({"mark": what, "asked": f"{sign} {wanted:g}", "measured": value, "where": where,
                              "": "met" if met else "**not met**"})
        except (KeyError, IndexError, ValueError):
            found.append({"mark": f"the rest of {group.__name__}", "asked": "", "measured": None, "where": "",
                          "": "not measured in this run"})
    return found
