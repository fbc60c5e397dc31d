"""What runs inside a child process, before and around its work: its pipe, its log, its death pact."""

from __future__ import annotations

import faulthandler
import io
import json
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from a3c.errors import UsageError
from a3c.processes.signals import end_with_parent
from a3c.processes.supervisor import Outcome

QUIET_SIGNALS = (signal.SIGINT, signal.SIGHUP)
"""Reach every process of a terminal; only the main process decides what they mean."""

_LONGEST_TRACEBACK = 20_000  # characters


class Link:
    """The child's end of the pipe to the main process.

    A message is one line of JSON, `[type, body]`: nothing that the reader would have to execute, and a
    line that a killed writer left unfinished is easily told. Writing waits while the pipe is full; when
    the main process is gone, it does nothing.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._facts: dict[str, Any] = {}

    def context(self, **facts: Any) -> None:
        """Facts that explain an error (environment, seed, step, ...); they stay until replaced."""
        self._facts.update(facts)

    def ready(self) -> None:
        """The set-up is over, the work begins."""
        self._send("ready", {})

    def event(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Anything the main process should know; numpy numbers are welcome."""
        self._send("event", {"kind": kind, "payload": dict(payload)})

    def warning(self, text: str) -> None:
        """A line for the run's log."""
        self._send("warning", {"text": text})

    def error(self, error: BaseException, permanent: bool = False) -> None:
        """The error that ends this child; `permanent` when a restart cannot cure it."""
        text = "".join(traceback.format_exception(error))[-_LONGEST_TRACEBACK:]
        outcome = Outcome.PERMANENT if permanent else Outcome.FAILED
        summary = f"{type(error).__name__}: {error}".splitlines()[0]
        body = {"outcome": outcome, "summary": summary, "traceback": text, "context": self._facts}
        self._send("error", body)

    def done(self) -> None:
        """The work is finished; the process is about to end."""
        self._send("done", {})

    def _send(self, type_: str, body: Mapping[str, Any]) -> None:
        line = json.dumps([type_, body], default=_plain).encode() + b"\n"
        try:
            with self._lock:
                while line:
                    line = line[os.write(self._connection.fileno(), line) :]
        except OSError:  # the main process is gone, and the death pact is about to end this one
            return


def _plain(value: Any) -> Any:
    """A numpy or torch value as numbers, anything else as text."""
    convert = getattr(value, "tolist", None)
    return convert() if callable(convert) else str(value)


class Preparation:
    """Unpickles to None and, doing so, prepares the child process.

    It is the first argument of `run_child`, so all this is in place before the further arguments are
    unpickled, which may take seconds (they import torch) and may fail.
    """

    def __init__(self, output: Connection) -> None:
        self._facts = (os.getpid(), output)

    def __reduce__(self) -> tuple[Callable[[int, Connection], None], tuple[int, Connection]]:
        return _prepare, self._facts


def _prepare(parent_pid: int, output: Connection) -> None:
    end_with_parent(parent_pid)
    for signum in QUIET_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*QUIET_SIGNALS, signal.SIGTERM})
    _redirect_output(output)
    faulthandler.enable(2)
    faulthandler.register(signal.SIGUSR1, 2)


def _redirect_output(output: Connection) -> None:
    """All output goes into the pipe of the log; nothing is read."""
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (output.fileno(), 1), (output.fileno(), 2)):
        os.dup2(source, target)
    os.close(null)
    output.close()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def run_child(
    prepared: None, connection: Connection, target: Callable[..., None], args: tuple[Any, ...]
) -> None:
    """The entry point of every child: runs `target(*args, link)` and tells the main process how it ended."""
    threading.Thread(target=_watch_parent, daemon=True).start()
    limit_threads()
    link = Link(connection)
    try:
        target(*args, link)
    except Exception as error:
        permanent = isinstance(error, (UsageError, ImportError))
        traceback.print_exc()
        link.error(error, permanent)
        raise SystemExit(UsageError.exit_code if permanent else 1) from error
    link.done()
    _leave()


def _leave() -> NoReturn:
    """Ends at once: on a busy machine Python takes seconds to take torch apart, and main waits."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


def _watch_parent() -> None:
    """The death pact where the kernel knows none."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def limit_threads() -> None:
    """One thread for libraries that are imported already; `CHILD_ENVIRONMENT` holds for the others."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


CHILD_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
}
"""What libraries read when a child loads them."""

CHILD_DEFAULTS = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # large pages where the kernel lends them: fewer to look up
}
"""The same, where the user has not set it."""
