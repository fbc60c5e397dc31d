"""Where a process's time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Timings:
    """Seconds spent by name since the last `pop`; tells an observer which phase begins, for heartbeats."""

    def __init__(self, observer: Callable[[str], None] = lambda phase: None) -> None:
        self._seconds: dict[str, float] = {}
        self._observer = observer

    @contextmanager
    def time(self, phase: str) -> Iterator[None]:
        """Adds the duration of the block to `phase`."""
        self._observer(phase)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - start

    def pop(self) -> dict[str, float]:
        """What was gathered, which starts again at 0."""
        seconds, self._seconds = self._seconds, {}
        return seconds
