"""Time to a score on a Ray cluster on this machine, by rule and number of nodes: CartPole.

    unshare --net --pid --fork --mount-proc --kill-child \
        sh -c 'ip link set lo up && exec python -m benchmarks.cluster_score'        # as root

Each node is a raylet with one worker; one node runs without Ray. A training is over when an evaluation of
`--games` games has a mean of `--score`, or after `--max-time`. Told are its wall time and the steps of all
nodes together, both from the run's start, which has the seconds in it that the other nodes take to start.
With fewer cores than nodes and an evaluator, wall time tells less than steps.

Every run is kept at once in benchmarks/results/cluster-score.json; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from a3c.cluster.rules import RULES
from a3c.settings.values import parse_duration
from a3c.storage.records import read_json_lines
from a3c.storage.run_directory import METRICS
from benchmarks.common import RESULTS, ROOT, keep, machine, table
from benchmarks.ray_cluster import TOKEN, Cluster

NAME = "cluster-score"


def train(address: str | None, rule: str, seed: int, o: argparse.Namespace) -> dict[str, Any]:
    """One training: how long until its first evaluation that is good enough; None where there was none."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        command = [sys.executable, str(ROOT / "run.py"), "--run-dir", str(run_dir), "--seed", str(seed),
                   "--workers", "1", "--target-score", str(o.score), "--eval-every", str(o.every),
                   "--eval-episodes", str(o.games), "--max-time", o.max_time, *o.flags]  # fmt: skip
        if address:
            command += ["--cluster", address, "--cluster-rule", rule, "--exchange-every", "1"]
        with Path(folder, "output.txt").open("w") as output:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=output,
                env={**os.environ, **TOKEN},
                timeout=parse_duration(o.max_time) + 300,
            )
        if done.returncode:
            raise RuntimeError(Path(folder, "output.txt").read_text())
        rows = [r for r in read_json_lines(run_dir / METRICS) if r["kind"] == "evaluation"]
        good = [r for r in rows if r["mean"] >= o.score]
        best = max((r["mean"] for r in rows), default=None)
        first = good[0] if good else {"wall_s": None, "env_steps": None}
        return {"seed": seed, "wall_s": first["wall_s"], "env_steps": first["env_steps"], "best": best}


def report(found: dict[str, list[dict[str, Any]]]) -> None:
    """A row for each choice, a run in each cell: seconds and thousands of steps."""

    def cell(run: dict[str, Any]) -> str:
        if run["wall_s"] is None:
            return f"not: {run['best']}"
        return f"{run['wall_s']:.0f} s, {run['env_steps'] / 1000:.0f} k"

    print(
        table([["", "seconds and steps, by seed"], *([n, "; ".join(map(cell, r))] for n, r in found.items())])
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--score", type=float, default=475.0)
    parser.add_argument("--games", type=int, default=20)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between evaluations")
    parser.add_argument("--max-time", default="3m")
    parser.add_argument("flags", nargs="*", help="after --: flags for run.py")
    o = parser.parse_args()
    o.flags = o.flags or ["--preset", "cartpole-a3c"]
    where, kept = machine(), RESULTS / f"{NAME}.json"
    found: dict[str, list[dict[str, Any]]] = json.loads(kept.read_text())["runs"] if kept.exists() else {}
    for nodes in o.nodes:
        cluster = Cluster() if nodes > 1 else None
        try:
            for _ in range(nodes - 1):
                cluster.add()  # type: ignore[union-attr]
            for seed in o.seeds:
                for rule in o.rules if cluster else ["no rule"]:
                    runs = found.setdefault(f"{nodes} nodes, {rule}" if cluster else "1 node", [])
                    if any(run["seed"] == seed for run in runs):
                        continue
                    runs.append(train(cluster.address if cluster else None, rule, seed, o))
                    print(nodes, rule, runs[-1], flush=True)
                    keep(NAME, {"machine": where, "score": o.score, "games": o.games, "runs": found})
        finally:
            if cluster:
                cluster.close()
    report(found)


if __name__ == "__main__":
    main()
