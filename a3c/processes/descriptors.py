"""Standard input, output and error of the main process: always there, and never in the way."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def fill_standard_descriptors() -> None:
    """Has descriptors 0 to 2 lead nowhere where they are missing, as a daemon's may be. Else whatever is
    opened next gets their number: a child takes the pipe that starts it for its input, and loses it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


@contextmanager
def output_that_never_waits() -> Iterator[None]:
    """While it holds, nothing that this process writes to its standard output or error can wait, whoever
    writes it (a library, an environment, a stack dump): what a pipe or a terminal does not take is dropped.

    The flag O_NONBLOCK belongs to an open file, which a shell and its other programs share; so each is opened
    once more, for this process and what it starts alone.
    """
    former = sys.stdout, sys.stderr
    for stream in former:
        stream.flush()
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    for descriptor in kept:
        reopened = reopen_without_waiting(descriptor)
        os.dup2(reopened, descriptor)
        os.close(reopened)
    sys.stdout, sys.stderr = _dropping(1, former[0]), _dropping(2, former[1])
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = former
        for descriptor, original in kept.items():
            os.dup2(original, descriptor)
            os.close(original)


def reopen_without_waiting(descriptor: int) -> int:
    """Another descriptor of the same pipe or terminal, that does not wait; other processes that have the old
    one do not notice."""
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        try:
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            pass  # a terminal of another user (su), or no /proc
    return os.dup(descriptor)


class _DroppingFile(io.FileIO):
    """Takes everything; what cannot be written now is lost."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or len(data)  # None: it would have to wait
        except OSError:
            return len(data)


def _dropping(descriptor: int, stream: Any) -> Any:
    """A stream like this one that drops; itself when it does not lead to that descriptor (in memory)."""
    try:
        if stream.fileno() != descriptor:
            return stream
    except OSError:
        return stream
    file = io.BufferedWriter(_DroppingFile(descriptor, "w", closefd=False))
    return io.TextIOWrapper(file, stream.encoding, "replace", line_buffering=True)
