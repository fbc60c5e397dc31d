"""Signals: what the main process makes of those it gets, and how it sends them to whole process trees."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

import psutil  # type: ignore[import-untyped]

from a3c.errors import EXIT_SIGNAL

_SAME_REQUEST_S = 0.1
"""Tools like timeout(1) send a signal to the process and again to its group; that is one request."""

_REAP_S = 1.0  # how long a forced exit waits for the killed to be gone
_PR_SET_PDEATHSIG = 1


class Signals:
    """A context in which SIGINT, SIGTERM and SIGHUP ask for a stop, and a second SIGINT or SIGTERM ends
    this process and all its descendants at once, with exit code 128 + n.

    SIGHUP never forces: a closing terminal sends it more than once. It is ignored altogether on request
    and when it was ignored before (nohup). For the main thread only; the former handlers come back at
    the end.
    """

    def __init__(self, ignore_hangup: bool = False) -> None:
        self.requested: signal.Signals | None = None  # the first signal that asked for a stop
        self._ignore_hangup = ignore_hangup
        self._requested_at = 0.0
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._former[signum] = signal.getsignal(signum)
            signal.signal(signum, self._handle)
        if self._ignore_hangup or self._former[signal.SIGHUP] is signal.SIG_IGN:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._former.items():
            signal.signal(signum, handler or signal.SIG_DFL)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested is None:
            self.requested, self._requested_at = signal.Signals(signum), now
        elif signum != signal.SIGHUP and now - self._requested_at > _SAME_REQUEST_S:
            force_exit(signum)


def force_exit(signum: int) -> NoReturn:
    """Kills all descendants and ends this process with exit code 128 + n, without any clean-up."""
    kill_descendants(_REAP_S)
    output = select.poll()
    output.register(2, select.POLLOUT)
    with suppress(OSError):
        if output.poll(0):
            os.write(2, f"forced to end by {signal.Signals(signum).name}\n".encode())
    os._exit(EXIT_SIGNAL + signum)


def kill_descendants(timeout_s: float) -> int:
    """Kills and reaps every descendant; returns how many are still there after `timeout_s`. For a process
    that is about to end: multiprocessing does not get to know the exit codes."""
    family = psutil.Process().children(recursive=True)
    for process in family:
        with suppress(psutil.Error):
            process.kill()
    return len(psutil.wait_procs(family, timeout=timeout_s)[1])


def signal_tree(pid: int, signum: int) -> None:
    """Sends a signal to a process and all its descendants; those that are gone do not matter."""
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (*root.children(recursive=True), root):
            with suppress(psutil.Error):
                process.send_signal(signum)


def end_with_parent(parent_pid: int, signum: int = signal.SIGKILL) -> None:
    """Has the kernel send `signum` to this process when the thread that started it ends, where the kernel can
    do that (Linux). Ends at once when it is too late: the parent is no longer `parent_pid`."""
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


@contextmanager
def held_back(*signals: signal.Signals) -> Iterator[None]:
    """Delivers these signals only after the block; a process started inside begins with them blocked."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
