"""A run's curves, as TensorBoard events and as lines of `metrics.jsonl`, on one axis of env_steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from a3c.types import Counters
from evaluators.writer import Clock, JsonLines, TensorBoard, forget_after

METRICS = "metrics.jsonl"


class RunLogs:
    """Writes both; what cannot be written is dropped, and `warn` hears of it once.

    Args:
        run_dir: events go into it directly, where `tensorboard --logdir` finds each run by its name.
        resumed_at: env_steps from which a run goes on; what was logged beyond them is forgotten.
        warn: takes one line.
        clock: seconds.
    """

    def __init__(
        self,
        run_dir: Path,
        resumed_at: int | None,
        warn: Callable[[str], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self.tensorboard = TensorBoard(run_dir, None if resumed_at is None else resumed_at + 1, clock)
        self.metrics = JsonLines(run_dir / METRICS, clock)
        self._warn = warn
        self._failing: set[str] = set()
        if resumed_at is not None:
            try:
                forget_after(run_dir / METRICS, resumed_at)
            except (OSError, ValueError) as error:
                warn(f"{METRICS} keeps rows beyond step {resumed_at}, where this run goes on: {error}")

    def write(
        self,
        kind: str,
        counters: Counters,
        wall_s: float,
        row: Mapping[str, Any],
        points: Mapping[str, float],
    ) -> None:
        """One row of `kind` and its points, at the env_steps of `counters`."""
        place = {"env_steps": counters.env_steps, "frames": counters.frames, "updates": counters.updates}
        self.metrics.write({"kind": kind, **place, "wall_s": wall_s, **row})
        self.tensorboard.add_scalars(points, counters.env_steps)
        self._note("TensorBoard events", self.tensorboard.error, self.tensorboard.dropped)
        self._note(METRICS, self.metrics.error, self.metrics.dropped)

    def close(self) -> None:
        """Closes the files."""
        self.tensorboard.close()
        self.metrics.close()

    def _note(self, name: str, error: str, dropped: int) -> None:
        if error and name not in self._failing:
            self._failing.add(name)
            self._warn(f"{name} cannot be written and are dropped until they can: {error}")
        elif not error and name in self._failing:
            self._failing.remove(name)
            self._warn(f"{name} are written again; {dropped} were dropped so far")
