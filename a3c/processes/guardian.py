"""Processes that an environment started end with the worker they belong to, and all of them with the run.

A process that is killed can end nobody any more, and what it had started goes on. But what a child of a run
starts inherits its environment, and with it a mark. So the main process finds what a dead child has left; and
a process of its own, which waits for nothing but the main process's end, finds what that has left. It is this
file, run as a script, nobody's child and alone in its session: it outlives a run that is killed whole.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

import psutil  # type: ignore[import-untyped]

_MARK = "A3C_RUN_PROCESS"  # an environment variable: the run's token and the child's name
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "LANG")
_START_S = 10.0
_DEATH_S = 3.0  # how long it may take until the killed are gone


class Guardian:
    """Knows the processes of a run by their mark, and ends those that are left behind."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Has a process wait for the end of this one. Returns what that it cannot be started means, if so."""
        environ = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, self._token], env=environ, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            return f"what environments start may outlive this run: {error.strerror}"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_START_S)
        return ""

    def mark(self, name: str) -> Mapping[str, str]:
        """What the environment of the child `name` must hold."""
        return {_MARK: f"{self._token} {name}"}

    def end(self, name: str) -> None:
        """Kills what the child `name` started; the child itself is dead, and not replaced yet."""
        for process in marked(f"{self._token} {name}"):
            with suppress(psutil.Error):
                process.kill()

    def close(self) -> None:
        """Kills all that is left of the run; safe to call twice."""
        process, self._process = self._process, None
        if process is not None and process.stdin and process.stdout:
            process.stdin.close()
            select.select([process.stdout], [], [], 2 * _DEATH_S)  # until it has ended too
            process.stdout.close()


def marked(mark: str) -> Iterator[psutil.Process]:
    """Every process with this mark; with that of any child of a run, for the run's token alone."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            found = process.environ().get(_MARK, "")
            if mark in (found, found.partition(" ")[0]):
                yield process


def main(token: str) -> None:
    """Waits until the main process has ended, and ends all that it left."""
    if os.fork():
        os._exit(0)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    deadline = time.monotonic() + _DEATH_S
    while (left := list(marked(token))) and time.monotonic() < deadline:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
