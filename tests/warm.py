"""Commands of the project in processes of their own, forked from one that has imported torch already.

Most of the time of a short command is `import torch`. Python's fork server imports it once for all tests of a
process; a command is then a fork of it that runs as under `python`: its own process, session, environment,
folder, terminal and exit code. What it starts itself starts as ever. Tests of the start of the interpreter
(limits, name spaces, variables that are read when Python starts) use `subprocess`.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import resource_tracker
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PRELOADED = ("a3c.cli", "a3c.training.trainer", "a3c.trained.find", "evaluators.process.evaluator")
CONTEXT = multiprocessing.get_context("forkserver")
"""Starts a function in a process of its own, with torch there at once."""
CONTEXT.set_forkserver_preload(list(PRELOADED))


class Start(NamedTuple):
    """What is run, and in which surroundings."""

    command: tuple[str, ...]  # a script, or "-m" and a module, and the arguments
    folder: str
    environ: Mapping[str, str]
    stdin: str  # paths of files, or of a terminal, which becomes the process's own
    stdout: str
    stderr: str


class WarmProcess:
    """A command that was started, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, start: Start) -> None:
        self._process = CONTEXT.Process(target=_run, args=(start,))
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired("a warm process", timeout or 0.0)
        return code

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_to_the_end(
    *command: str, cwd: Path, environ: Mapping[str, str], timeout_s: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Runs a command as `subprocess.run` does, and returns what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "stdout", Path(folder) / "stderr"
        process = WarmProcess(Start(command, str(cwd), environ, "/dev/null", *map(str, outputs)))
        try:
            code = process.wait(timeout_s)
        finally:
            process.kill()
        return subprocess.CompletedProcess(command, code, *(path.read_text() for path in outputs))


def _run(start: Start) -> None:
    """In the fork: becomes what the interpreter would be, and runs the script to its end."""
    _settle_in(start)
    words, paths = list(start.command), start.environ.get("PYTHONPATH", "").split(os.pathsep)
    try:
        if words[0] == "-m":
            sys.argv, sys.path[:0] = words[1:], [start.folder, *filter(None, paths)]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[:0] = words, [str(Path(words[0]).parent), *filter(None, paths)]
            runpy.run_path(words[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()


def _settle_in(start: Start) -> None:
    os.setsid()
    os.chdir(start.folder)
    os.environ.clear()
    os.environ.update(start.environ)
    for number, path in enumerate((start.stdin, start.stdout, start.stderr)):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
    for signum in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource_tracker._resource_tracker._fd = None  # that of the tests: this process starts its own
    resource_tracker._resource_tracker._pid = None
