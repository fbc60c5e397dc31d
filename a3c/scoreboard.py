"""What the processes tell each other while running: one shared table, one writer per row.

Every cell is a float64 that only its row's owner writes, so no lock is needed, a killed writer leaves
nothing locked, and a reader sees whole numbers (exact up to 2**53). Sums only ever grow, also over a
worker's restarts; a reader takes differences to get rates and means.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

PHASES = ("starting", "env", "act", "learn", "pull", "push", "paused", "done")
"""What a process is doing; a row holds the index."""

TIMED = ("env", "act", "learn", "pull", "push")
"""Where a worker's time goes; a row holds the seconds spent in each."""

STOP_WORKERS, STOP_ALL, STOP_AND_SCORE = 1, 2, 3
"""Values of the stop cell: workers end; the evaluator too, after a last checkpoint; and a last score."""

_FIXED = (
    "heartbeat",  # time.monotonic() of the last sign of life
    "phase",
    "env_steps",
    "frames",
    "updates",
    "rejected_nonfinite",
    "rejected_stale",
    "episodes",
    "return_sum",  # of unclipped episode returns
    "length_sum",
    "lag_sum",  # over applied updates
    *(f"time_{name}" for name in TIMED),
    "metric_count",  # gradients behind the metric sums
)


class Scoreboard:
    """[rows, columns] float64: a row per worker, then one for the evaluator, then one for the main process."""

    def __init__(self, workers: int, metric_names: tuple[str, ...] = (), table: torch.Tensor | None = None) -> None:
        self.workers = workers
        self.metric_names = metric_names
        self.columns = {name: i for i, name in enumerate((*_FIXED, *metric_names, "stop"))}
        shape = (workers + 2, len(self.columns))
        self.table = torch.zeros(shape, dtype=torch.float64) if table is None else table
        self.evaluator_row, self.main_row = workers, workers + 1

    def share(self) -> Scoreboard:
        """Moves the table into shared memory."""
        self.table.share_memory_()
        return self

    def beat(self, row: int, phase: str) -> None:
        """A sign of life: the owner is now in `phase`."""
        self.table[row, self.columns["phase"]] = PHASES.index(phase)
        self.table[row, self.columns["heartbeat"]] = time.monotonic()

    def add(self, row: int, values: Mapping[str, float]) -> None:
        """Adds to the owner's sums."""
        for name, value in values.items():
            self.table[row, self.columns[name]] += value

    def get(self, row: int, name: str) -> float:
        """One cell."""
        return float(self.table[row, self.columns[name]])

    def phase(self, row: int) -> str:
        """What the row's owner was last doing."""
        return PHASES[int(self.get(row, "phase"))]

    def totals(self) -> dict[str, float]:
        """Column sums over the workers and the main process's row, which holds what a resumed run brought."""
        rows = [*range(self.workers), self.main_row]
        sums = self.table[rows].sum(0).tolist()
        return {name: sums[i] for name, i in self.columns.items() if name not in ("heartbeat", "phase", "stop")}

    @property
    def stop(self) -> int:
        """0, or one of the STOP values; written by the main process only."""
        return int(self.get(self.main_row, "stop"))

    @stop.setter
    def stop(self, value: int) -> None:
        self.table[self.main_row, self.columns["stop"]] = value
