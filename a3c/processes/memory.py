"""How much memory a run takes, this process and all that it started; and keeping it at hand."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from contextlib import suppress

import psutil  # type: ignore[import-untyped]

WORKER_BYTES = 575_000_000
"""Resident memory of a worker, mostly torch itself: measured with the largest network, `a3c-lstm`, and
without a replay (docs/performance.md)."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # that glibc takes


def keep_freed_memory() -> None:
    """Has this process keep what it frees for its next use, where its C library is glibc.

    A worker frees and takes the same megabytes at every step; given back to the system they would come back
    as new pages, each zeroed at its first touch.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        library.mallopt(_M_TRIM_THRESHOLD, 2**30)


class MemoryMeter:
    """Measures now and then; a look at the numbers between costs nothing.

    Bytes are each process's fair share: a page that n processes have in common counts 1/n for each (PSS).
    Where the system does not tell that, they are resident pages (RSS), common ones counted in full.
    """

    def __init__(self, every_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s, self._clock = every_s, clock
        self._due = 0.0
        self._bytes: dict[int, int] = {}

    def by_pid(self) -> dict[int, int]:
        """Bytes of each process."""
        now = self._clock()
        if now >= self._due:
            self._due = now + self._every_s
            self._bytes = _measure()
        return self._bytes

    def total(self) -> int:
        """Bytes of all together."""
        return sum(self.by_pid().values())


def _measure() -> dict[int, int]:
    found = {}
    main = psutil.Process()
    for process in (main, *main.children(recursive=True)):
        with suppress(psutil.Error):
            found[process.pid] = _share(process)
    return found


def _share(process: psutil.Process) -> int:
    with suppress(psutil.AccessDenied, AttributeError):
        return int(process.memory_full_info().pss)
    return int(process.memory_info().rss)
