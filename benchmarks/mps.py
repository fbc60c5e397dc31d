"""NVIDIA's MPS for the time of a measurement: a daemon of its own, that nobody else's programs meet."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from a3c.processes.mps import CONTROL, mps_runs

PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
_STARTS_S = 10.0
_ENDS_S = 10.0
_NOTHING: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


@contextmanager
def own_daemon() -> Iterator[tuple[str, str]]:
    """Starts it, where it is installed, and ends it.

    Yields:
        The folder of its pipes, to be named by PIPES, empty where there is none; and why there is none.
    """
    if not shutil.which(CONTROL):
        yield "", f"{CONTROL} is not installed"
        return
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:  # short: the path of a socket has 108 letters
        environ = {**os.environ, PIPES: f"{folder}/pipes", LOGS: f"{folder}/logs"}
        for name in (PIPES, LOGS):
            Path(environ[name]).mkdir()
        trouble = _start(environ)
        try:
            yield ("" if trouble else environ[PIPES]), trouble
        finally:
            with suppress(subprocess.TimeoutExpired):  # it ends with the machine at the latest
                subprocess.run([CONTROL], input=b"quit\n", env=environ, timeout=_ENDS_S, check=False)


def _start(environ: dict[str, str]) -> str:
    """Starts the daemon and waits until it listens; why it does not, or nothing."""
    try:
        # It keeps what it is given; a pipe of this process would stay open as long as it runs.
        done = subprocess.run([CONTROL, "-d"], env=environ, timeout=_STARTS_S, check=False, **_NOTHING)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{CONTROL} -d: {error}"
    deadline = time.monotonic() + _STARTS_S
    while done.returncode == 0 and time.monotonic() < deadline:
        if mps_runs(Path(environ[PIPES])):
            return ""
        time.sleep(0.05)
    return f"{CONTROL} -d ended with {done.returncode} and does not listen"
