"""The log of a training on two nodes of which one is lost in the middle, and replaced later.

    unshare --net --pid --fork --mount-proc --kill-child \
        sh -c 'ip link set lo up && exec python -m benchmarks.cluster_lost'        # as root; some minutes

Two raylets on loopback, CartPole, one worker each. When both have trained for `--seconds`, the raylet that
is not the head's is killed (SIGKILL: what it had started dies with it); as long after that another node
joins, and when that has trained as long the run is stopped. What the run's status says meanwhile, and what
the run itself says of its cluster, go to benchmarks/results/cluster-lost.txt.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from a3c.storage.run_directory import read_status
from benchmarks.common import RESULTS, ROOT, machine, newest_step
from benchmarks.ray_cluster import TOKEN, Cluster, of_ours

FLAGS = ["--env", "CartPole-v1", "--preset", "cartpole-a3c", "--workers", "1", "--checkpoint-every", "5",
         "--eval-every", "0", "--target-score", "501", "--max-steps", "1B"]  # fmt: skip
_START_S = 400.0


class Log:
    """Lines with the seconds since it began, printed and kept."""

    def __init__(self, run_dir: Path) -> None:
        self.lines: list[str] = []
        self._run_dir, self._began, self._before = run_dir, time.monotonic(), (0.0, 0)

    def say(self, words: str) -> None:
        self.lines.append(f"{time.monotonic() - self._began:6.1f} s  {words}")
        print(self.lines[-1], flush=True)

    def status(self) -> dict[str, Any]:
        """A line on how the run is."""
        status = read_status(self._run_dir) or {}
        if "steps" not in status or status["elapsed_s"] == self._before[0]:
            return status
        before_s, before = self._before
        self._before = status["elapsed_s"], status["steps"]
        rate = (status["steps"] - before) / (status["elapsed_s"] - before_s)
        nodes = [f"node {n['id']} {n['state']}, {n['steps']:,} steps" for n in status.get("nodes") or []]
        here = sum(worker["steps"] for worker in status["workers"])
        words = [f"head {here:,} steps", *nodes, f"last checkpoint {newest_step(self._run_dir):,}"]
        self.say(f"{status['steps']:9,} steps {rate:7,.0f}/s   {'; '.join(words)}")
        return status

    def until(self, met: Callable[[dict[str, Any]], bool], limit_s: float, every_s: float = 3.0) -> None:
        """A line now and then until it is met. Raises RuntimeError when that takes too long."""
        deadline = time.monotonic() + limit_s
        while not met(self.status()):
            if time.monotonic() > deadline:
                raise RuntimeError("\n".join(self.lines))
            time.sleep(every_s)


def trains(status: dict[str, Any]) -> bool:
    """Whether the other node does."""
    nodes = status.get("nodes") or []
    return [node["state"] for node in nodes] == ["running"] and nodes[0]["steps"] > 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part")
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_dir, output = Path(folder, "run"), Path(folder, "output.txt")
        cluster = Cluster()
        try:
            raylet = cluster.add()
            command = [sys.executable, str(ROOT / "run.py"), "--run-dir", str(run_dir), *FLAGS]
            with output.open("w") as file:
                process = subprocess.Popen(
                    [*command, "--cluster", cluster.address], stdout=file, stderr=file, cwd=folder,
                    env={**os.environ, **TOKEN},
                )  # fmt: skip
            log = Log(run_dir)

            def a_while() -> Callable[[dict[str, Any]], bool]:
                until = time.monotonic() + o.seconds
                return lambda _: time.monotonic() > until

            log.until(trains, _START_S)
            log.say("both nodes train")
            log.until(a_while(), _START_S)
            cluster.end(raylet)
            log.say("the raylet of node 1 is killed, and with it all that runs there")
            log.until(a_while(), _START_S)
            cluster.add()
            log.say("another node has joined the Ray cluster")
            log.until(trains, _START_S)
            log.say("it trains")
            log.until(a_while(), _START_S)
            log.say("SIGTERM to the head")
            process.terminate()
            code = process.wait(60)
            log.status()
            log.say(f"exit code {code}; processes left on the nodes: {len(of_ours())}")
            words = ("cluster is", "stopped")
            said = output.read_text().replace(f"{folder}/", "").splitlines()
            log.lines += [line for line in said if any(w in line for w in words)]
        finally:
            cluster.close()
    where = ", ".join(f"{name} {value}" for name, value in machine().items())
    head = [f"python -m benchmarks.cluster_lost  {time.strftime('%Y-%m-%d')}", where, " ".join(FLAGS), ""]
    (RESULTS / "cluster-lost.txt").write_text("\n".join([*head, *log.lines]) + "\n")


if __name__ == "__main__":
    main()
