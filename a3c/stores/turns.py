"""Turns that processes take.

A turn is a lock of the kernel's on a file that has no name: nobody else can hold it, and the kernel takes it
back from a process that dies. The locks are POSIX's (fcntl), which belong to a process, not to an open file,
so that nothing an environment starts inherits one.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.reduction import DupFd
from typing import Any


class Turns:
    """At so many `places` one process each is at work; the others wait, and no one waits for ever.

    Pickled for a process that is being started, it is the same places there.
    """

    def __init__(self, places: int) -> None:
        self._hold(places, _nameless_file())

    def _hold(self, places: int, descriptor: int) -> None:
        self.places, self._descriptor = places, descriptor
        weakref.finalize(self, os.close, descriptor)

    def __reduce__(self) -> tuple[Callable[..., Turns], tuple[int, Any]]:
        return _arrive, (self.places, DupFd(self._descriptor))

    @contextmanager
    def take(self, who: int) -> Iterator[None]:
        """Has, for the block, the place that number `who` shares with every `places`-th other.

        Whoever had the place last must queue again: without the queue it would be back before another had
        woken up.
        """
        queue = 2 * (who % self.places)
        place = queue + 1
        with ExitStack() as turn:
            with self._locked(queue):
                turn.enter_context(self._locked(place))
            yield

    @contextmanager
    def _locked(self, byte: int) -> Iterator[None]:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, byte)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, byte)


def _nameless_file() -> int:
    """A descriptor."""
    if hasattr(os, "memfd_create"):  # Linux
        return os.memfd_create("turns")
    descriptor, path = tempfile.mkstemp(prefix="a3c-turns-")
    os.unlink(path)
    return descriptor


def _arrive(places: int, descriptor: Any) -> Turns:
    turns = Turns.__new__(Turns)
    turns._hold(places, descriptor.detach())
    return turns
