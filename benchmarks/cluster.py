"""What it costs to be two: one node of two cores against two nodes of one core, under a real Ray.

    unshare --net --pid --fork --mount-proc --kill-child \
        sh -c 'ip link set lo up && exec python -m benchmarks.cluster'        # as root; some minutes

Nodes are raylets on loopback, each with one worker; in a network of its own, because Ray binds to a machine's
outer address otherwise. Told are steps per second, and how many milliseconds of CPU time a node takes in a
second for what: workers, exchangers, the anchor (a node's part of it), and Ray's own processes. On a machine
that does other work only those of exchangers and anchor stand. Writes benchmarks/results/cluster.json.

Which rule learns fastest is measured by benchmarks.cluster_rules.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import ROOT, keep, machine, table

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_worker_niceness": "0"}
START_S = 400.0
RAYS_OWN = ("/raylet/raylet ", "gcs_server", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "log_monitor")
NODES = {"1 node of 2 cores": (1, 2), "2 nodes of 1 core": (2, 1), "4 nodes of 1 core": (4, 1)}


@contextmanager
def ray(nodes: int, folder: str) -> Iterator[str]:
    """A Ray cluster of so many raylets; gives its address."""
    address = "127.0.0.1:6379"
    program = [str(Path(sys.executable).parent / "ray"), "start", "--num-cpus=1", "--disable-usage-stats",
               "--object-store-memory=80000000"]  # fmt: skip
    try:
        for i in range(nodes):
            where = [f"--address={address}"] if i else ["--head", "--port=6379", f"--temp-dir={folder}"]
            flags = [] if i else ["--include-dashboard=false"]
            subprocess.run(
                [*program, *where, *flags], env={**os.environ, **TOKEN}, check=True, capture_output=True
            )
        yield address
    finally:
        for process in processes(folder):
            with suppress(psutil.Error):
                process.kill()


def processes(word: str) -> list[psutil.Process]:
    """With that word in their command lines."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if word in " ".join(process.cmdline()):
                found.append(process)
    return found


def used(kind: Callable[[psutil.Process], bool], among: Sequence[psutil.Process]) -> float:
    """CPU seconds of those of a kind."""
    seconds = 0.0
    for process in among:
        with suppress(psutil.Error):
            if kind(process):
                times = process.cpu_times()
                seconds += times.user + times.system
    return seconds


def cpu(status: dict[str, Any]) -> dict[str, float]:
    """CPU seconds so far, by what they were used for."""
    supervisors = processes("a3c.cluster.node")
    exchangers = [status["exchanger"]["pid"]] if status.get("exchanger") else []
    workers = [worker["pid"] for worker in status["workers"]]
    for supervisor in supervisors:  # its exchanger is started first
        family = sorted(p.pid for p in supervisor.children() if "spawn_main" in " ".join(p.cmdline()))
        exchangers += family[:1]
        workers += family[1:]
    everybody = list(psutil.process_iter())
    return {
        "workers": used(lambda p: p.pid in workers, everybody),
        "exchangers": used(lambda p: p.pid in exchangers, everybody),
        "anchor": used(lambda p: "ray::AnchorActor" in " ".join(p.cmdline()), everybody),
        "ray": used(lambda p: any(word in " ".join(p.cmdline()) for word in RAYS_OWN), everybody),
    }


def running(status: dict[str, Any]) -> int:
    """How many other nodes train."""
    return sum(node["state"] == "running" for node in status.get("nodes") or [])


def measure(nodes: int, workers: int, o: argparse.Namespace) -> dict[str, Any]:
    """One training, after it has warmed up."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder, ray(nodes, folder) as address:
        run_dir = Path(folder, "run")
        command = [sys.executable, str(ROOT / "run.py"), "--run-dir", str(run_dir), "--eval-every", "0",
                   "--checkpoint-every", "1h", "--workers", str(workers), *o.flags]  # fmt: skip
        if nodes > 1:
            command += ["--cluster", address, "--exchange-every", str(o.every)]
        with Path(folder, "output.txt").open("w") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=folder, env={**os.environ, **TOKEN}
            )

        def status(ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
            deadline = time.monotonic() + START_S
            while process.poll() is None and time.monotonic() < deadline:
                with suppress(OSError, ValueError):
                    found: dict[str, Any] = json.loads((run_dir / "status.json").read_text())
                    if ready(found):
                        return found
                time.sleep(0.2)
            raise RuntimeError(Path(folder, "output.txt").read_text())

        try:
            began = status(lambda s: s["updates"] > 0 and running(s) == nodes - 1)
            before = status(lambda s: s["elapsed_s"] > began["elapsed_s"] + o.warm_up)
            cpu_before = cpu(before)
            after = status(lambda s: s["elapsed_s"] > before["elapsed_s"] + o.seconds)
            cpu_after = cpu(after)
        finally:
            process.terminate()
            process.wait(60)
        spent = {name: cpu_after[name] - cpu_before[name] for name in cpu_after}
        steps, seconds = (after[key] - before[key] for key in ("steps", "elapsed_s"))
        return {
            "steps_per_second": steps / seconds,
            **{f"{name}_ms": 1000 * s / seconds / nodes for name, s in spent.items()},
            "load": os.getloadavg()[0],
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two exchanges of a node")
    parser.add_argument("flags", nargs="*", help="after --: flags for run.py")
    o = parser.parse_args()
    o.flags = o.flags or ["--env", "PongNoFrameskip-v4", "--preset", "none", "--envs-per-worker", "16"]
    where = machine()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in NODES}
    for _ in range(o.rounds):
        for name, (nodes, workers) in NODES.items():
            found[name].append(measure(nodes, workers, o))
            print(name, found[name][-1], flush=True)
            keep("cluster", {"machine": where, "flags": o.flags, "every_s": o.every, "measured": found})
    keys = list(found["2 nodes of 1 core"][0])
    rows = [[name, *(sum(run[k] for run in runs) / len(runs) for k in keys)] for name, runs in found.items()]
    print(table([["", *keys], *rows]))


if __name__ == "__main__":
    main()
