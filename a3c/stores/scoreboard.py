"""What the processes tell each other while running: one shared table, one writer per row.

Every cell is a float64 that only its row's owner writes, so no lock is needed, a killed writer leaves
nothing locked, and a reader sees whole numbers (exact up to 2**53). Sums only ever grow, also over a
worker's restarts; a reader takes differences to get rates and means.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from a3c.types import Counters

WAITING = "waiting"
"""The phase of a worker whose turn it is not."""

PHASES = ("starting", "env", "act", "learn", "pull", "push", WAITING, "paused", "done")
"""What a process is doing; a row holds the index."""

TIMED = ("env", "act", "learn", "pull", "push")
"""Where a worker's time goes; a row holds the seconds spent in each."""

STOP_WORKERS, STOP_ALL, STOP_AND_SCORE, STOP_EXCHANGE = 1, 2, 3, 4
"""Values of the stop cell: workers end; the evaluator too, after a last checkpoint; and a last score; the
exchange with other nodes ends, which it does after the workers."""

_FIXED = (
    "heartbeat",  # time.monotonic() of the last sign of life
    "phase",
    "env_steps",
    "frames",
    "updates",
    "rejected_nonfinite",
    "rejected_stale",
    "episodes",
    "games",  # of the evaluation in progress; 0: there is none
    "games_over",  # of these
    "return_sum",  # of unclipped episode returns
    "length_sum",
    "lag_sum",  # over applied updates: how old the weights of the gradient were, in updates
    "acting_lag_sum",  # the same of the weights that acted
    *(f"time_{name}" for name in TIMED),
    "metric_count",  # applied gradients behind the metric sums
    "grad_norm",  # sum, before clipping
)


class Scoreboard:
    """[rows, columns] float64: a row per worker, then one for the evaluator, one for the main process, and
    one for the other nodes of a cluster, which the exchanger writes."""

    def __init__(self, workers: int, metric_names: tuple[str, ...] = ()) -> None:
        self.workers = workers
        self.metric_names = metric_names
        self.columns = {name: i for i, name in enumerate((*_FIXED, *metric_names, "stop"))}
        self.evaluator_row, self.main_row, self.others_row = workers, workers + 1, workers + 2
        self._own = np.array([*range(workers), self.main_row])
        self._counting = np.array([*self._own, self.others_row])
        self._table = torch.zeros(workers + 3, len(self.columns), dtype=torch.float64)
        self._cells = self._table.numpy()  # the same memory; numpy is quicker at single cells

    @property
    def size_bytes(self) -> int:
        return self._table.nbytes

    def share(self) -> Scoreboard:
        """Moves the table into shared memory."""
        self._table.share_memory_()  # type: ignore[no-untyped-call]
        self._cells = self._table.numpy()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_cells"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._cells = self._table.numpy()

    def beat(self, row: int, phase: str) -> None:
        """A sign of life: the owner is now in `phase`."""
        self._cells[row, 1] = PHASES.index(phase)
        self._cells[row, 0] = time.monotonic()

    def still(self, row: int, phase: str) -> None:
        """A sign of life, unless the owner's main thread has left the phase."""
        if self.phase(row) == phase:
            self._cells[row, 0] = time.monotonic()

    def add(self, row: int, values: Mapping[str, float]) -> None:
        """Adds to the owner's sums."""
        cells, columns = self._cells[row], self.columns
        for name, value in values.items():
            cells[columns[name]] += value

    def put(self, row: int, values: Mapping[str, float]) -> None:
        """Sets cells of the owner that are no sums."""
        for name, value in values.items():
            self._cells[row, self.columns[name]] = value

    def get(self, row: int, name: str) -> float:
        """One cell."""
        return float(self._cells[row, self.columns[name]])

    def phase(self, row: int) -> str:
        """What the row's owner was last doing."""
        return PHASES[int(self._cells[row, 1])]

    def total(self, name: str) -> int:
        """One counter, summed over the workers, what a resumed run brought, and other nodes."""
        return int(self._cells[self._counting, self.columns[name]].sum())

    def totals(self) -> dict[str, float]:
        """Every sum, over the workers, the main process's row, which holds what a resumed run brought, and
        other nodes."""
        return self._sums(self._counting)

    def own(self) -> dict[str, float]:
        """Every sum without those of other nodes."""
        return self._sums(self._own)

    def version(self) -> int:
        """Of the weights in this machine's memory: the updates applied to them, over all resumes."""
        return int(self._cells[self._own, self.columns["updates"]].sum())

    @property
    def sums(self) -> tuple[str, ...]:
        """The names of the columns that are sums."""
        return tuple(name for name in self.columns if name not in ("heartbeat", "phase", "stop"))

    def _sums(self, rows: np.ndarray) -> dict[str, float]:
        sums = self._cells[rows].sum(0).tolist()
        return {name: sums[self.columns[name]] for name in self.sums}

    def counters(self) -> Counters:
        """How far the run is, over all workers and resumes."""
        return counters_of(self.totals())

    @property
    def stop(self) -> int:
        """0, or one of the STOP values; written by the main process only."""
        return int(self.get(self.main_row, "stop"))

    @stop.setter
    def stop(self, value: int) -> None:
        if not self.stop:
            self.put(self.main_row, {"heartbeat": time.monotonic()})
        self._cells[self.main_row, self.columns["stop"]] = value

    @property
    def stopping_s(self) -> float:
        """For how long the run has been about to end; negative and infinite while it is not."""
        return time.monotonic() - self.get(self.main_row, "heartbeat") if self.stop else -math.inf


def counters_of(totals: Mapping[str, float]) -> Counters:
    """How far a run is, by the `totals` of its scoreboard."""
    return Counters(*(int(totals[name]) for name in Counters._fields))
