"""Output that is never in the way: what cannot be written now is dropped and counted.

A full disk, a folder that is gone, a pipe nobody reads, a terminal that was stopped or lost: each costs what
was to be written, never the run. After a pause (2 s, doubled up to 5 minutes) the file is opened again.
"""

from __future__ import annotations

import math
import os
import select
import stat
import time
from collections.abc import Callable
from contextlib import suppress

FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 300.0

Clock = Callable[[], float]


class Sink:
    """Takes pieces of bytes and writes each whole or not at all; never raises, never waits.

    Args:
        open_new: opens the file, at first and again after each failure: a descriptor. Raises OSError.
        clock: seconds, for the pauses.
    """

    def __init__(self, open_new: Callable[[], int], clock: Clock = time.monotonic) -> None:
        self._open_new, self._clock = open_new, clock
        self._fd = -1
        self._rest = b""  # of a piece that a pipe took in part
        self._pause, self._retry_at = FIRST_PAUSE_S, -math.inf
        self.dropped = 0
        self.error = ""
        """Why the last piece was dropped; empty when it was not."""

    def write(self, piece: bytes) -> bool:
        """Appends `piece`. Returns whether it was taken."""
        if self._clock() < self._retry_at:
            self.dropped += 1
            return False
        try:
            if self._fd < 0:
                self._open()
            if not self._empty() or not self._append(piece):
                raise BlockingIOError(0, "nobody reads it")
        except BlockingIOError as error:
            self._drop(error)
            return False
        except OSError as error:
            self._fail(error)
            return False
        self._pause, self.error = FIRST_PAUSE_S, ""
        return True

    def drain(self, timeout_s: float) -> None:
        """Waits so long for a reader to take the rest of the last piece."""
        deadline = time.monotonic() + timeout_s
        with suppress(OSError):
            while self._fd >= 0 and not self._empty() and (left := deadline - time.monotonic()) > 0:
                _wait(self._fd, left)

    def close(self) -> None:
        """Closes the file; a later write opens it again."""
        fd, self._fd, self._rest = self._fd, -1, b""
        if fd >= 0:
            with suppress(OSError):  # nothing more can be done for it
                os.close(fd)

    def _open(self) -> None:
        self._fd = self._open_new()
        self._seekable = stat.S_ISREG(os.fstat(self._fd).st_mode)

    def _empty(self) -> bool:
        while self._rest and (taken := _write_some(self._fd, self._rest)):
            self._rest = self._rest[taken:]
        return not self._rest

    def _append(self, piece: bytes) -> bool:
        if self._seekable:
            append(self._fd, piece)
            return True
        self._rest = piece
        if not self._empty() and len(self._rest) == len(piece):  # nothing of it was taken
            self._rest = b""
            return False
        return True

    def _drop(self, error: OSError) -> None:
        self.dropped += 1
        self.error = error.strerror or str(error)

    def _fail(self, error: OSError) -> None:
        self._drop(error)
        self.close()
        self._retry_at = self._clock() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)


def append(fd: int, piece: bytes) -> None:
    """Writes `piece` at the end of a file, whole or not at all. Raises OSError."""
    whole, rest = os.lseek(fd, 0, os.SEEK_END), memoryview(piece)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(fd, whole)  # a torn record would hide all that follow
        raise


def _write_some(fd: int, data: bytes) -> int:
    """Bytes that a pipe or a terminal takes now, without waiting; 0 when it takes none."""
    if not _wait(fd, 0.0):
        return 0
    try:
        return os.write(fd, data[: select.PIPE_BUF])
    except BlockingIOError:
        return 0


def _wait(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(1000 * timeout_s))
