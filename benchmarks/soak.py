"""An hour of training, watched: does anything grow?

    make soak                                                    # 60 minutes of pong-fast, two workers
    python -m benchmarks.soak --minutes 5 --warm-up 1 -- --env CartPole-v1 --workers 1
    python -m benchmarks.soak --attach checkpoints/Breakout-v0-a3c    # a run that goes on already
    python -m benchmarks.soak --samples FILE                     # only draws the conclusions

Every 15 s: resident, unique and proportional bytes (RSS, USS, PSS), descriptors and threads of each process
of the run, the bytes of its folder, and those in /dev/shm. After the warm-up a straight line is fitted to
each by least squares. The verdict: of no process do the unique bytes grow by more than 1 MB an hour, beyond
the doubt of the fit (two standard errors), nor its descriptors or threads at all; shared memory is constant.
The folder grows by its curves and logs; by how much is told. Writes benchmarks/results/soak.json and .txt.

A line of FILE is one process at one time: {"t": seconds, "pid", "name", "rss", "uss", "pss", "fds",
"threads", "cpu"}, or the run as a whole: {"t", "disk", "shm"}.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from a3c.storage.run_directory import read_status
from a3c.storage.run_lock import lock_holder
from benchmarks.common import RESULTS, ROOT, keep, machine, table

Sample = dict[str, Any]

EVERY_S = 15.0
MOST_MB_PER_HOUR = 1.0
SPARE = 3  # descriptors or threads: a log, a checkpoint or a child's start may just need them
FOREVER = ["--lr-schedule", "constant", "--entropy-schedule", "constant", "--max-steps", "0"]
FLAGS = ["--preset", "pong-fast", "--workers", "2", *FOREVER]


class Fit(NamedTuple):
    """A straight line through samples."""

    slope: float  # per hour
    error: float  # one standard error of the slope


def fit(times_s: Sequence[float], values: Sequence[float]) -> Fit:
    """Least squares of values over time."""
    if len(values) < 3:
        return Fit(0.0, math.inf)
    slope, start = statistics.linear_regression(times_s, values)
    residual = sum((v - start - slope * t) ** 2 for t, v in zip(times_s, values, strict=True))
    spread = sum((t - statistics.fmean(times_s)) ** 2 for t in times_s)
    return Fit(slope * 3600, math.sqrt(residual / (len(values) - 2) / spread) * 3600)


def sample(run_dir: Path, pid: int, began: float) -> Iterator[Sample]:
    """Each process of a run now, and the run as a whole."""
    names = names_of(run_dir)
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with suppress(psutil.Error):
            memory = process.memory_full_info()
            yield {
                "t": time.monotonic() - began, "pid": process.pid,
                "name": names.get(process.pid, process.name()),
                "rss": memory.rss, "uss": memory.uss, "pss": memory.pss, "fds": process.num_fds(),
                "threads": process.num_threads(), "cpu": sum(process.cpu_times()[:2]),
            }  # fmt: skip
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    yield {"t": time.monotonic() - began, "disk": sum(map(size_of, files)), "shm": shared_memory()}


def names_of(run_dir: Path) -> dict[int, str]:
    """The processes of a run by pid."""
    status = read_status(run_dir) or {}
    children = {w["pid"]: f"worker-{w['id']}" for w in status.get("workers", [])}
    return {status.get("pid"): "main", status.get("evaluator", {}).get("pid"): "evaluator", **children}


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # pruned meanwhile
        return 0


def shared_memory() -> int:
    """Bytes taken in /dev/shm, also by files that have no name any more."""
    place = os.statvfs("/dev/shm")
    return (place.f_blocks - place.f_bfree) * place.f_frsize


def watch(run_dir: Path, pid: int, minutes: float, log: Path) -> list[Sample]:
    """Samples until the time is over or the run ends; keeps them in `log` as they come."""
    began, found = time.monotonic(), []
    with log.open("w") as file:
        while time.monotonic() - began < minutes * 60:
            with suppress(psutil.NoSuchProcess):
                for row in sample(run_dir, pid, began):
                    found.append(row)
                    file.write(json.dumps(row) + "\n")
            file.flush()
            if lock_holder(run_dir) is None:
                break
            time.sleep(EVERY_S)
    return found


def conclude(samples: Iterable[Sample], warm_up_s: float) -> dict[str, Any]:
    """Slopes and the verdict. Processes that lived for less than half of the time are only counted."""
    rows = sorted(samples, key=lambda row: row["t"])
    kept = [row for row in rows if row["t"] >= warm_up_s]
    if not kept:
        raise SystemExit(f"error: no sample is later than the warm-up of {warm_up_s:g} s")
    length = kept[-1]["t"] - kept[0]["t"]
    by_pid: dict[int, list[Sample]] = {}
    for row in kept:
        if "pid" in row:
            by_pid.setdefault(row["pid"], []).append(row)
    lives = {pid: own for pid, own in by_pid.items() if own[-1]["t"] - own[0]["t"] >= length / 2}
    processes = [process(own) for own in lives.values()]
    whole = [row for row in kept if "disk" in row]
    result = {
        "minutes": round(length / 60, 1),
        "warm_up_minutes": warm_up_s / 60,
        "samples": len(kept),
        "short_lived_processes": len(by_pid) - len(lives),
        "processes": processes,
        "folder_mb_per_hour": fit([r["t"] for r in whole], [r["disk"] / 1e6 for r in whole]).slope,
        "shm_mb_per_hour": fit([r["t"] for r in whole], [r["shm"] / 1e6 for r in whole]).slope,
    }
    growing = [f"{p['name']}: {what}" for p in processes for what in p["grows"]]
    if abs(result["shm_mb_per_hour"]) > MOST_MB_PER_HOUR:
        growing.append("/dev/shm")
    return {"verdict": "grows: " + "; ".join(growing) if growing else "flat", **result}


def process(rows: Sequence[Sample]) -> dict[str, Any]:
    """What became of one process."""
    times = [row["t"] for row in rows]
    fits = {kind: fit(times, [row[kind] / 1e6 for row in rows]) for kind in ("rss", "uss", "pss")}
    descriptors, threads = ([row[kind] for row in rows] for kind in ("fds", "threads"))
    grows = []
    if fits["uss"].slope - 2 * fits["uss"].error > MOST_MB_PER_HOUR:
        grows.append(f"USS by {fits['uss'].slope:.1f} MB/h")
    grows += ["descriptors"] if grew(descriptors) else []
    grows += ["threads"] if grew(threads) else []
    return {
        "name": rows[0].get("name", f"pid {rows[0]['pid']}"),
        **{f"{kind}_mb": rows[-1][kind] / 1e6 for kind in fits},
        **{f"{kind}_mb_per_hour": f.slope for kind, f in fits.items()},
        "uss_error": fits["uss"].error,
        "fds": [min(descriptors), max(descriptors)],
        "threads": [min(threads), max(threads)],
        "grows": grows,
    }  # fmt: skip


def grew(counts: Sequence[int]) -> bool:
    """Whether the last third is above the first, by the median or, for a log that is just open, by more."""
    third = max(len(counts) // 3, 1)
    first, last = counts[:third], counts[-third:]
    higher = statistics.median(last) - statistics.median(first) > 1
    return higher or max(last) - max(first) > SPARE


def text_of(result: dict[str, Any]) -> str:
    """The report for people."""
    head = "process,RSS MB,USS MB,PSS MB,RSS MB/h,USS MB/h,+-,PSS MB/h,fds,threads"
    rows: list[list[Any]] = [head.split(",")]
    for p in result["processes"]:
        rows.append([
            p["name"], p["rss_mb"], p["uss_mb"], p["pss_mb"], p["rss_mb_per_hour"], p["uss_mb_per_hour"],
            p["uss_error"], p["pss_mb_per_hour"], "-".join(map(str, p["fds"])),
            "-".join(map(str, p["threads"])),
        ])  # fmt: skip
    return (
        f"{result.get('about', '')}\n"
        f"{result['verdict']}, over {result['minutes']} minutes after a warm-up of "
        f"{result['warm_up_minutes']:g}\n\n{table(rows)}\n\n"
        f"run folder {result['folder_mb_per_hour']:+.2f} MB/h, "
        f"/dev/shm {result['shm_mb_per_hour']:+.2f} MB/h\n"
    )


@contextmanager
def training(flags: Sequence[str]) -> Iterator[tuple[Path, int]]:
    """A run of our own; gives its folder and the main process."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        command = [sys.executable, str(ROOT / "run.py"), "--run-dir", str(run_dir), *flags]
        with open(f"{folder}/output.txt", "w") as output:
            child = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
        try:
            deadline = time.monotonic() + 120
            while not (read_status(run_dir) or {}).get("updates"):
                if child.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"error: no training: {Path(folder, 'output.txt').read_text()[-500:]}")
                time.sleep(0.5)
            yield run_dir, child.pid
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(60)


def gather(options: argparse.Namespace) -> list[Sample]:
    """The samples: from a file, a run that goes on, or one of our own."""
    if options.samples:
        with open(options.samples) as file:
            return [json.loads(line) for line in file]
    RESULTS.mkdir(exist_ok=True)
    log = RESULTS / "soak.jsonl"
    if not options.attach:
        with training(options.flags or FLAGS) as (run_dir, pid):
            return watch(run_dir, pid, options.minutes, log)
    holder = lock_holder(options.attach)
    if holder is None:
        raise SystemExit(f"error: {options.attach} is not running")
    return watch(options.attach, holder.pid, options.minutes, log)


def main() -> int:
    parser = argparse.ArgumentParser(description="Watches the memory and descriptors of a training.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=10.0, metavar="MINUTES")
    parser.add_argument("--attach", type=Path, metavar="RUN")
    parser.add_argument("--samples", metavar="FILE")
    parser.add_argument("--about", default="", metavar="TEXT", help="what was watched, for the report")
    parser.add_argument("flags", nargs="*", help="of run.py, after --")
    options = parser.parse_args()
    about = options.about or str(options.attach or " ".join(options.flags or FLAGS))
    result = {"about": about, "machine": machine(), **conclude(gather(options), options.warm_up * 60)}
    keep("soak", result)
    (RESULTS / "soak.txt").write_text(text_of(result))
    print(text_of(result))
    return int(result["verdict"] != "flat")


if __name__ == "__main__":
    sys.exit(main())
