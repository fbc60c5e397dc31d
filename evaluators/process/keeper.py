"""Keeping the newest and the best weights, on a clock, whatever the disk does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from a3c.errors import CheckpointError, StorageError
from a3c.storage.saving import Progress, Record, Saver
from a3c.storage.shelf import Kind
from a3c.stores.base import ParameterStore
from a3c.stores.shared import Snapshot

FIRST_S = 90.0
"""When the first checkpoint is due, at the latest: what took a while to come up is not to be lost."""

POINTS = 20
"""A curve has at least so many, however short the run; see `CurveAlarm`."""

LEAST_S = 0.1
"""The shortest time between two points of a curve."""

FIRST_RETRY_S = 5.0
"""Pause after a checkpoint that could not be written; doubles up to the usual time between two."""


class Listener(Protocol):
    """Whom the evaluator tells what happened: `a3c.processes.child.Link` in a process of its own."""

    def event(self, kind: str, payload: Mapping[str, Any]) -> None:
        """ "evaluation", "recheck", "best" or "checkpoint", with plain data."""
        ...

    def warning(self, text: str) -> None:
        """One line for the run's log."""
        ...


class Alarm:
    """Rings every `every_s` seconds, never for 0; for the first time after `first_s` at the latest."""

    def __init__(self, every_s: float, now: float, first_s: float = math.inf) -> None:
        self._every_s = every_s or math.inf
        self._at = now + min(self._every_s, first_s)
        self._failures = 0

    def rings(self, now: float) -> bool:
        """Whether it is time, and if so, winds itself up again."""
        if now < self._at:
            return False
        self._at = now + self._pause_s(now)
        return True

    def _pause_s(self, now: float) -> float:
        return self._every_s

    def settle(self, succeeded: bool, now: float) -> None:
        """Brings the next ring forward after a failure."""
        self._failures = 0 if succeeded else self._failures + 1
        if not succeeded:
            self._at = now + min(FIRST_RETRY_S * 2 ** (self._failures - 1), self._every_s)


class CurveAlarm(Alarm):
    """Rings for the points of a curve: every `every_s` seconds at the latest and, as long as that is sooner,
    each time the run has become a `POINTS`th longer. So a run of any length has as many points."""

    def __init__(self, every_s: float, now: float) -> None:
        super().__init__(every_s, now)
        self._began, self._rang = -math.inf, now

    def begin(self, began: float, now: float) -> None:
        """The curve begins now; `began` is the time at which the run did, that of earlier starts included."""
        self._began = began
        if self._every_s < math.inf:
            self._at = min(self._at, now + min(self._every_s, LEAST_S))

    def put_off(self, pause_s: float) -> None:
        """Rings again `pause_s` seconds after the last time at the earliest; after `every_s` all the same."""
        self._at = max(self._at, self._rang + min(self._every_s, pause_s))

    def _pause_s(self, now: float) -> float:
        self._rang = now
        return min(self._every_s, max(LEAST_S, (now - self._began) / POINTS))


class Keeper:
    """Writes checkpoints. One that cannot be written costs no more than itself: it is tried again after a
    pause, and training goes on.

    Args:
        saver: knows the run.
        store: of the weights to keep.
        listener: hears of every checkpoint ("checkpoint", "best") and of trouble.
        clock: seconds.
    """

    def __init__(
        self, saver: Saver, store: ParameterStore, listener: Listener, clock: Callable[[], float]
    ) -> None:
        self._saver, self._store, self._listener, self._clock = saver, store, listener, clock
        self._alarm = Alarm(saver.config.eval.checkpoint_every, clock(), FIRST_S)
        self._saved: Progress | None = None
        self._unsaved_best: tuple[Snapshot, Progress] | None = None
        self.best = saver.best()

    def due(self) -> bool:
        """Whether it is time for a checkpoint; asking winds the clock up again."""
        return self._alarm.rings(self._clock())

    def save(self, progress: Progress) -> bool:
        """Writes the weights of now, unless nothing happened since the last time, and the best ones if that
        failed before. Returns whether both are safe."""
        newest = self._saved is not None and self._saved.counters == progress.counters
        if not newest and self._write(self._store.snapshot(), progress, "ckpt"):
            self._saved, newest = progress, True
        return self._settle(self._write_best() and newest)

    def save_best(self, snapshot: Snapshot, progress: Progress, record: Record) -> None:
        """Makes weights the best of the run and writes them, as they were when they were evaluated."""
        self.best = record
        self._unsaved_best = snapshot, replace(progress, best=record)
        self._settle(self._write_best())
        self._listener.event("best", record)

    def _write_best(self) -> bool:
        if self._unsaved_best is not None and self._write(*self._unsaved_best, "best"):
            self._unsaved_best = None
        return self._unsaved_best is None

    def _write(self, snapshot: Snapshot, progress: Progress, kind: Kind) -> bool:
        step = progress.counters.env_steps
        try:
            path = self._saver.save(snapshot, progress, kind)
        except (CheckpointError, StorageError) as error:
            self._listener.warning(f"no checkpoint of step {step}: {error}; training goes on")
            return False
        if kind == "ckpt":
            self._listener.event("checkpoint", {"name": path.name, "env_steps": step})
        try:
            self._saver.prune()
        except StorageError as error:
            self._listener.warning(str(error))
        return True

    def _settle(self, succeeded: bool) -> bool:
        self._alarm.settle(succeeded, self._clock())
        return succeeded
