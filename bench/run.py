#!/usr/bin/env python3
"""All benchmarks in one command: installs what they need (Debian, as root), builds, runs each, and writes docs/performance.md
with its plots. README.md says what each measures."""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from rig import ROOT, build_of, stopped

BENCH = pathlib.Path(__file__).resolve().parent
FULL, QUICK, SMOKE = 0, 1, 2
# program: its arguments in a full, a quick and a smoke run
PROGRAMS = {
    "throughput": ("--seconds 0.5", "--rounds 1 --seconds 0.5",
                   "--rounds 1 --seconds 0.05 --mib 16 --snapshots 3 --only=rand read 4k q1, buffered;fdatasync;mixed"),
    "after_snapshot": ("--seconds 0.5", "--rounds 1 --seconds 0.5",
                       "--rounds 1 --seconds 0.05 --mib 16 --only=rand write 4k q1, direct"),
    "often": ("", "--writes 5000 --snapshots 4", "--gib 1 --data 16 --writes 100 --snapshots 1"),
    "snapshots": ("--rounds 3 --peer-counts 0,100",
                  "--rounds 2 --seconds 1 --sizes 10,1024 --counts 0,1000 --peer-counts 0",
                  "--rounds 1 --seconds 0.1 --sizes 1 --counts 0,2 --peer-counts 1 --data 16"),
    "postmark": ("", "--rounds 1 --files 2000", "--rounds 1 --files 50 --mib 64"),
    "scaling": ("--rounds 7 --seconds 0.5 --sizes 1,16,256,4096,16384 --shares 0,25,50,100",
                "--rounds 3 --seconds 0.5 --sizes 1,64,1024,16384 --counts 0,10,1000 --shares 0,50,100",
                "--rounds 1 --seconds 0.05 --sizes 1,64 --counts 0,3 --shares 0,50 --data 16 --disk 32"),
    "refcounts": ("", "--writes 20000", "--gib 1 --snapshots 4 --writes 500 --synced 50"),
}
MICRO_SECONDS = ("0.5", "0.1", "0.001")
# Columns that do not apply to every row or every host.
OPTIONAL = {"on the host's disk", "and before", "CPU us a 4 KiB request", "CPU us a MiB"}


def shell(script):
    """A bash script in the project's top folder; its failure is ours."""
    if subprocess.run(["bash", "-euc", script], cwd=ROOT, check=False).returncode != 0:
        sys.exit(1)


def prepare(build):
    shell('. tests/support/packages.sh; need_packages "${build_packages[@]}" "${bench_packages[@]}"')
    shell(f'. tests/support/build.sh; configure "{build}" "${{optimised[@]}}" -DFVD_BUILD_BENCH=ON >/dev/null; '
          f'build "{build}" fvdfs fvd_tool fvd_bench_passthrough fvd_bench_micro')


def words(arguments):
    """Splits at the blanks before options and their values; a value after "=" may hold blanks itself."""
    head, equals, rest = arguments.partition("=")
    found = head.split()
    return found[:-1] + [f"{found[-1]}={rest}"] if equals else found


def run(command):
    """Runs a benchmark; if we are stopped, so is it, and we wait until it has cleaned up."""
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def reason_to_skip(program):
    if program == "postmark" and (os.geteuid() != 0 or not shutil.which("postmark")):
        return "it needs root and PostMark"
    if program == "postmark" and subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode != 0:
        return "there is no loop device"
    if program == "refcounts" and not shutil.which("strace"):
        return "it needs strace"
    if program == "micro" and not build_of("fvd_bench_micro").exists():
        return "it was not built (-DFVD_BUILD_BENCH=ON)"
    return None


def command_of(program, mode, options):
    result = str(options.results / f"{program}.json")
    if program == "micro":
        return [str(build_of("fvd_bench_micro")), f"--benchmark_min_time={MICRO_SECONDS[mode]}",
                f"--benchmark_out={result}", "--benchmark_out_format=json"]
    return [sys.executable, str(BENCH / f"{program}.py"), "--dir", options.dir, "--json", result,
            *words(PROGRAMS[program][mode])]


def gaps(result):
    """What a program's results lack: tables, rows, or figures of ours."""
    content = json.loads(result.read_text(encoding="utf-8"))
    if "benchmarks" in content:
        return [] if content["benchmarks"] else ["no benchmarks"]
    found = []
    for one in content["tables"]:
        if not one["rows"]:
            found.append(f"{one['key']}: no rows")
        for row in one["rows"]:
            found += [f"{one['key']}: {row} has no '{name}'" for name, value in row.items()
                      if value is None and name not in OPTIONAL and row.get("target", "fvdfs") == "fvdfs"]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, sizes and seconds: some 10 minutes and more")
    parser.add_argument("--smoke", action="store_true", help="see only whether everything works; the figures mean nothing")
    parser.add_argument("--only", default="", help="programs to run, separated by commas (default: all)")
    parser.add_argument("--dir", default="/var/tmp", help="where the images go; 30 GiB are needed (default: /var/tmp)")
    parser.add_argument("--results", type=pathlib.Path, help="where the JSON goes (default: bench in the build directory)")
    parser.add_argument("--docs", default=str(ROOT / "docs"), help="where performance.md goes (default: docs)")
    parser.add_argument("--no-build", action="store_true", help="install and build nothing")
    options = parser.parse_args()
    mode = SMOKE if options.smoke else QUICK if options.quick else FULL
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stopped)
    if not options.no_build:
        prepare(os.environ.get("FVD_BUILD_DIR") or "build")
    options.results = options.results or build_of("bench-results")
    options.results.mkdir(parents=True, exist_ok=True)
    failed, start = [], time.monotonic()
    for program in options.only.split(",") if options.only else [*PROGRAMS, "micro"]:
        if why := reason_to_skip(program):
            print(f"=== {program} skipped: {why}", flush=True)
            continue
        print(f"=== {program} (after {(time.monotonic() - start) / 60:.1f} min)", flush=True)
        result = options.results / f"{program}.json"
        result.unlink(missing_ok=True)
        status = run(command_of(program, mode, options))
        found = gaps(result) if result.exists() else ["no results"]
        if status != 0 or found:
            print(f"=== {program} FAILED: status {status}; {'; '.join(found)}", flush=True)
            failed.append(program)
    subprocess.run([sys.executable, str(BENCH / "report.py"), str(options.results), "--docs", options.docs], check=True)
    print(f"=== {options.docs}/performance.md written after {(time.monotonic() - start) / 60:.1f} min", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
