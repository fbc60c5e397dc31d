"""One trial of a search: real runs of `a3c run`, a seed after the other, in a process tree of its own."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from a3c.errors import EXIT_DIVERGED, EXIT_OK, printable
from a3c.files import make_folder, open_file
from a3c.processes.signals import end_with_parent, signal_tree
from a3c.settings.config import settings
from a3c.storage.atomic import storage_errors
from a3c.storage.records import read_json_lines, read_lines

RUN = ("-m", "a3c", "run")
"""Arguments of an interpreter that trains."""

_LONGEST_REASON = 300  # characters
_STOP_S = 30.0  # a graceful stop, with its last checkpoint


class TrialFailed(Exception):
    """A run of the trial did not give a score; the message says why."""


class Running(Protocol):
    """A run of `a3c run`, wherever it is; its metrics come into its folder here while it goes on."""

    def poll(self) -> int | None:
        """The exit code, once it has ended and everything is here."""
        ...

    def ask_to_stop(self) -> None:
        """Has it end by itself."""
        ...

    def end(self, timeout_s: float) -> None:
        """Waits so long for its end, then ends it with all its processes."""
        ...


Launch = Callable[[Sequence[str], Path, Path], Running]
"""Starts a run, by its flags, its folder, and the file for what it prints."""


class LocalRun(subprocess.Popen[bytes]):
    """On this machine."""

    def ask_to_stop(self) -> None:
        self.send_signal(signal.SIGTERM)

    def end(self, timeout_s: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(timeout_s)
            return
        signal_tree(self.pid, signal.SIGKILL)
        self.wait()


def run_here(flags: Sequence[str], run_dir: Path, log: Path) -> LocalRun:
    """A `Launch`."""
    with storage_errors(f"write {log}"):
        fd = open_file(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with os.fdopen(fd, "ab") as output:
        return LocalRun(
            [sys.executable, *RUN, *flags, "--run-dir", str(run_dir)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid(), signal.SIGTERM),
        )  # fmt: skip


class Trial:
    """Trains with the same settings once per seed; call `poll` until it says that the trial is over.

    Args:
        folder: gets one run directory per seed.
        flags: of `a3c run`, before those of the trial.
        parameters: settings by name.
        seeds: one run each.
        launch: starts a run.

    Everything raises StorageError where a link, a pipe or the like is in the place of its files.
    """

    def __init__(
        self,
        folder: Path,
        flags: Sequence[str],
        parameters: Mapping[str, Any],
        seeds: Sequence[int],
        launch: Launch = run_here,
    ) -> None:
        self.folder, self.parameters = folder, parameters
        self.scores: list[float] = []  # of the seeds that ended
        self.reported: set[int] = set()  # parts of the run that the search has seen
        self._flags, self._seeds, self._launch = list(flags), list(seeds), launch
        self._process: Running | None = None
        self._asked = False
        with storage_errors(f"create {folder}"):
            make_folder(folder)
        self._start()

    @property
    def run_dir(self) -> Path:
        """The run of the seed that is trained now."""
        return self.folder / f"seed-{self._seeds[len(self.scores)]}"

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.run_dir.name}.log"

    @property
    def value(self) -> float:
        """The mean of the scores so far."""
        return statistics.fmean(self.scores)

    def poll(self) -> bool:
        """Whether all seeds have ended. Raises TrialFailed."""
        process = self._process
        if process is None:
            return True
        code = process.poll()
        if code is None:
            return False
        if code != EXIT_OK:
            raise TrialFailed(self._reason(code))
        self.scores.append(self._final_score())
        self._process = None
        if len(self.scores) < len(self._seeds):
            self._start()
            return False
        return True

    def evaluations(self) -> list[tuple[int, float]]:
        """(env_steps, score) of the evaluations of the seed that is trained now."""
        if self._process is None:
            return []
        return [(int(r["env_steps"]), float(r["mean"])) for r in self._evaluation_rows()]

    def ask_to_stop(self) -> None:
        """Has the run that is going on end by itself. Asking once is a request, asking twice is none."""
        if self._process is not None and self._process.poll() is None and not self._asked:
            self._process.ask_to_stop()
            self._asked = True

    def stop(self) -> None:
        """Ends the run that is going on, with all its processes."""
        self.ask_to_stop()
        process, self._process = self._process, None
        if process is not None:
            process.end(_STOP_S)

    def _start(self) -> None:
        own = [f"{settings()[name].flag}={value}" for name, value in self.parameters.items()]
        seed = f"--seed={self._seeds[len(self.scores)]}"
        self._process = self._launch([*self._flags, *own, seed], self.run_dir, self._log)

    def _final_score(self) -> float:
        final = [r for r in self._evaluation_rows() if r.get("final")]
        if not final:
            raise TrialFailed(f"{self.run_dir} ended without a last evaluation")
        return float(final[-1]["mean"])

    def _evaluation_rows(self) -> list[dict[str, Any]]:
        path = self.run_dir / "metrics.jsonl"
        if not path.exists():
            return []
        with storage_errors(f"read {path}"):
            return [row for row in read_json_lines(path) if _is_evaluation(row)]

    def _reason(self, code: int) -> str:
        if code == EXIT_DIVERGED:
            return "training diverged"
        with storage_errors(f"read {self._log}"):
            said = deque(filter(bytes.strip, read_lines(self._log)), maxlen=1)
        last = printable(said[0].decode(errors="replace").strip()) if said else "no output"
        return f"exit code {code}: {last[:_LONGEST_REASON]}"


def _is_evaluation(row: Mapping[str, Any]) -> bool:
    numbers = (row.get("env_steps"), row.get("mean"))
    return row.get("kind") == "evaluation" and all(isinstance(n, int | float) for n in numbers)
