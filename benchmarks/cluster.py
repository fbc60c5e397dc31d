"""What it costs to be two: one node of two cores against two nodes of one core, under a real Ray.

    unshare --net --pid --fork --mount-proc --kill-child \
        sh -c 'ip link set lo up && exec python -m benchmarks.cluster'        # as root; some minutes

A node is bound to its cores (taskset): its raylet, what runs there, and on the first node the head. Each
core has one worker. One node of two cores runs without Ray. The kinds take turns, `--rounds` times. Told
are steps per second, CPU milliseconds of the workers for a thousand steps, and how many milliseconds of CPU
time a node takes in a second for what: workers, exchangers, the anchor (a node's part of it), Ray's own
processes, and what looks after them all. On a machine that does other work steps per second tell little,
and `per_cpu_second` is what to look at: steps for each second of CPU time of everything that belongs to the
training and to Ray. Writes benchmarks/results/cluster.json.

Which rule learns fastest is measured by benchmarks.cluster_rules and, under Ray, benchmarks.cluster_score.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.common import ROOT, keep, machine, table
from benchmarks.ray_cluster import (
    ANCHOR,
    EXCHANGER,
    KEEPER,
    SUPERVISOR,
    TOKEN,
    Cluster,
    children,
    command_of,
    named,
)

START_S = 400.0
RAYS_OWN = ("/site-packages/ray/", "ray.util.client.server", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
KINDS = {"1 node of 2 cores": ("0,1",), "2 nodes of 1 core": ("0", "1")}
"""The cores of each node."""


def pinned(cores: str) -> tuple[str, ...]:
    return ("taskset", "-c", cores)


def used(kind: Callable[[psutil.Process], bool], among: Sequence[psutil.Process]) -> float:
    """CPU seconds of those of a kind."""
    seconds = 0.0
    for process in among:
        with suppress(psutil.Error):
            if kind(process):
                times = process.cpu_times()
                seconds += times.user + times.system
    return seconds


def cpu(process: psutil.Popen, status: dict[str, Any]) -> dict[str, float]:
    """CPU seconds so far, by what they were used for."""
    nodes = [children(supervisor) for supervisor in named(SUPERVISOR)]
    exchangers = [node[EXCHANGER].pid for node in nodes if EXCHANGER in node]
    exchangers += [status["exchanger"]["pid"]] if status.get("exchanger") else []
    workers = [worker["pid"] for worker in status["workers"]]
    workers += [child.pid for node in nodes for number, child in node.items() if number != EXCHANGER]
    over_them = [process.pid, *(p.pid for p in named(SUPERVISOR, KEEPER))]
    everybody = list(psutil.process_iter())

    def line(p: psutil.Process) -> str:
        return " ".join(command_of(p))

    return {
        "workers": used(lambda p: p.pid in workers, everybody),
        "exchangers": used(lambda p: p.pid in exchangers, everybody),
        "anchor": used(lambda p: ANCHOR in line(p), everybody),
        "ray": used(lambda p: any(word in line(p) for word in RAYS_OWN), everybody),
        "over_them": used(lambda p: p.pid in over_them, everybody),
    }


def running(status: dict[str, Any]) -> int:
    """How many other nodes train."""
    return sum(node["state"] == "running" for node in status.get("nodes") or [])


def measure(nodes: Sequence[str], o: argparse.Namespace) -> dict[str, Any]:
    """One training, after it has warmed up, on nodes of these cores."""
    cluster = Cluster(*pinned(nodes[0])) if len(nodes) > 1 else None
    try:
        for cores in nodes[1:] if cluster else ():
            cluster.add(*pinned(cores))
        with tempfile.TemporaryDirectory() as folder:
            return train(nodes, cluster, Path(folder), o)
    finally:
        if cluster:
            cluster.close()


def train(
    nodes: Sequence[str], cluster: Cluster | None, folder: Path, o: argparse.Namespace
) -> dict[str, Any]:
    """What was done and used within the window."""
    workers = len(nodes[0].split(","))
    command = [sys.executable, str(ROOT / "run.py"), "--run-dir", str(folder / "run"), "--eval-every", "0",
               "--checkpoint-every", "1h", "--workers", str(workers), *o.flags]  # fmt: skip
    if cluster:
        command += ["--cluster", cluster.address, "--exchange-every", str(o.every)]
    with (folder / "output.txt").open("w") as output:
        process = psutil.Popen(
            [*pinned(nodes[0]), *command], stdout=output, stderr=output, cwd=folder,
            env={**os.environ, **TOKEN},
        )  # fmt: skip

    def status(ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError, ValueError):
                found: dict[str, Any] = json.loads((folder / "run" / "status.json").read_text())
                if ready(found):
                    return found
            time.sleep(0.2)
        raise RuntimeError((folder / "output.txt").read_text())

    try:
        began = status(lambda s: s["updates"] > 0 and running(s) == len(nodes) - 1)
        before = status(lambda s: s["elapsed_s"] > began["elapsed_s"] + o.warm_up)
        cpu_before = cpu(process, before)
        after = status(lambda s: s["elapsed_s"] > before["elapsed_s"] + o.seconds)
        cpu_after = cpu(process, after)
    finally:
        process.terminate()
        process.wait(60)
    spent = {name: cpu_after[name] - cpu_before[name] for name in cpu_after}
    steps, seconds = (after[key] - before[key] for key in ("steps", "elapsed_s"))
    return {
        "steps_per_second": steps / seconds,
        "per_cpu_second": steps / sum(spent.values()),
        "worker_ms_per_1000_steps": 1e6 * spent["workers"] / steps,
        **{f"{name}_ms": 1000 * s / seconds / len(nodes) for name, s in spent.items()},
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two exchanges of a node")
    parser.add_argument("flags", nargs="*", help="after --: flags for run.py")
    o = parser.parse_args()
    o.flags = o.flags or ["--env", "PongNoFrameskip-v4", "--preset", "none", "--envs-per-worker", "16"]
    where = machine()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in KINDS}
    ratios: dict[str, list[float]] = {"steps_per_second": [], "per_cpu_second": []}
    for _ in range(o.rounds):
        for name, nodes in KINDS.items():
            found[name].append(measure(nodes, o))
            print(name, found[name][-1], flush=True)
        one, two = (runs[-1] for runs in found.values())
        for key, values in ratios.items():
            values.append(two[key] / one[key])
        result = {"flags": o.flags, "every_s": o.every, "two_nodes_to_one": ratios, "measured": found}
        keep("cluster", {"machine": where, **result})
    keys = list(one)
    medians = {name: [median(run[k] for run in runs) for k in keys] for name, runs in found.items()}
    print(table([["median", *keys], *([name, *values] for name, values in medians.items())]))
    print("two nodes to one:", {key: [round(ratio, 3) for ratio in values] for key, values in ratios.items()})


if __name__ == "__main__":
    main()
