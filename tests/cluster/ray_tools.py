"""Runs on a Ray cluster on this machine."""

from pathlib import Path

from benchmarks.ray_cluster import TOKEN, Cluster, of_ours
from tests.run_tools import PATIENCE_S, Run, wait_for

LONG_S = 3 * PATIENCE_S
"""For what takes the start of several processes one after the other."""


class ClusterRun(Run):
    """A `run.py --cluster`."""

    def __init__(self, folder: Path, cluster: Cluster, *flags: str, **how) -> None:
        given = ["--cluster", cluster.address, *flags]
        super().__init__(folder, *given, env=TOKEN | how.pop("env", {}), **how)

    def nodes(self, *states: str, steps: int = 1, timeout_s: float = LONG_S) -> dict:
        """Waits until the other nodes are in these states, and those that run have made steps."""
        return self.wait_until(
            lambda s: (
                s["pid"] == self.process.pid  # not what an earlier start has left
                and sorted(node["state"] for node in s.get("nodes") or []) == sorted(states)
                and all(node["steps"] > steps for node in s["nodes"] if node["state"] == "running")
            ),
            timeout_s,
            f"nodes {states}",
        )


def nobody_left() -> None:
    """Waits until nothing of a run is left on any node."""
    wait_for(lambda: not of_ours(), what="all processes of the run to end")
