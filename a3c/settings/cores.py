"""The cores a run may use, and how many of its workers use them at a time."""

from __future__ import annotations

import math
import os
from pathlib import Path

from a3c.settings.groups import RunConfig


def usable_cores() -> int:
    """Cores this process may really use: its affinity, and the CPU quota of its cgroup."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no cgroup v2 here
    return max(1, cores)


def workers_at_a_time(run: RunConfig) -> int:
    """How many workers play and learn at the same time; the others wait for their turn.

    Where workers share a core, those that come between a worker's playing and its update make its gradient
    old. In turns 16 workers on two cores learn as much from a step as two. One that waits for a GPU leaves
    its core to others, so there all go on.
    """
    workers = run.workers or 0
    default = 0 if run.gpu_ids else usable_cores()
    return min(workers, (default if run.active_workers is None else run.active_workers) or workers)
