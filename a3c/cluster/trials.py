"""Runs of `a3c tune` on a Ray cluster: each an actor of one core on some node, its files brought here.

Ray places them, and starts one anew, on another node, when its own is lost. They end with the search.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import ray

from a3c.cluster.connection import TROUBLES, connect, take_usual_priority
from a3c.errors import UsageError
from a3c.files import make_folder, open_file
from a3c.storage.atomic import storage_errors

LOST = -1
"""The exit code of a run whose node was lost too often."""

_STARTS_AGAIN = 3
_LOOK_S = 1.0  # between two questions to a run
_POLL_S = 0.1
_METRICS = "metrics.jsonl"


class TrialActor:
    """One run, on its node.

    Args:
        flags: of `a3c run`.
        folder: where the search was started; the run is started there too, where there is such a folder.
    """

    def __init__(self, flags: list[str], folder: str) -> None:
        take_usual_priority()
        self._start_id = secrets.token_hex(8)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "a3c.cluster.trial_run", *flags],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=folder if os.path.isdir(folder) else tempfile.gettempdir(),
        )  # fmt: skip
        self._process.wait()  # it has a child that goes on
        self._folder = Path(self._hear())
        self._code: int | None = None
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        code = self._hear()
        self._code = int(code) if code else LOST

    def _hear(self) -> str:
        """The next line; "" when the run was killed."""
        return self._process.stdout.readline().strip() if self._process.stdout else ""

    def look(self, start_id: str, offset: int) -> tuple[str, int | None, int, bytes]:
        """Returns which start of the run this is, its exit code once it has ended, and its metrics from
        `offset` on, of the same start, with where they begin."""
        code = self._code
        offset = offset if start_id == self._start_id else 0
        rows = b""
        with suppress(FileNotFoundError), (self._folder / "run" / _METRICS).open("rb") as file:
            file.seek(offset)
            rows = file.read()
        return self._start_id, code, offset, rows

    def ask_to_stop(self) -> None:
        if self._process.stdin:
            with suppress(OSError):
                print("stop", file=self._process.stdin, flush=True)

    def files(self) -> list[str]:
        """What the run has left, relative to its folder."""
        found = sorted((self._folder / "run").rglob("*"))
        return [str(p.relative_to(self._folder / "run")) for p in found if p.is_file() and not p.is_symlink()]

    def read(self, name: str) -> bytes:
        """One of these files, or with "" what the run has printed."""
        path = self._folder / "run" / name if name else self._folder / "output.log"
        return path.read_bytes()


class RayRun:
    """A run that is somewhere on the cluster; see `evaluators.tuning.trial.Running`."""

    def __init__(self, flags: Sequence[str], run_dir: Path, log: Path) -> None:
        self._run_dir, self._log = run_dir, log
        options = {"num_cpus": 1, "max_restarts": _STARTS_AGAIN}
        self._actor: Any = ray.remote(TrialActor).options(**options).remote(list(flags), os.getcwd())
        self._start_id, self._offset = "", 0
        self._question: Any = None
        self._due = 0.0
        self._code: int | None = None

    def poll(self) -> int | None:
        """Raises StorageError when its files cannot be written here."""
        if self._code is None and time.monotonic() >= self._due:
            try:
                self._ask()
            except ray.exceptions.ActorUnavailableError:
                self._question = None  # Ray is starting it anew
            except TROUBLES:
                self._code = LOST
        return self._code

    def ask_to_stop(self) -> None:
        with suppress(*TROUBLES):
            self._actor.ask_to_stop.remote()

    def end(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while self.poll() is None and self._start_id and time.monotonic() < until:
            time.sleep(_POLL_S)
        with suppress(*TROUBLES):
            ray.kill(self._actor)

    def _ask(self) -> None:
        """Takes the answer to the last question, if it has come. Raises one of TROUBLES."""
        if self._question is None:
            self._question = self._actor.look.remote(self._start_id, self._offset)
        if not ray.wait([self._question], timeout=0)[0]:
            return
        question, self._question, self._due = self._question, None, time.monotonic() + _LOOK_S
        self._start_id, code, begins, rows = ray.get(question)
        self._offset = begins + len(rows)
        self._put(_METRICS, rows, begins)
        if code is not None:
            for name in ray.get(self._actor.files.remote()):
                self._put(name, ray.get(self._actor.read.remote(name)))
            self._write(self._log, ray.get(self._actor.read.remote("")), 0)
            ray.kill(self._actor)
            self._code = code

    def _put(self, name: str, data: bytes, begins: int = 0) -> None:
        """Into the run's folder here; a name that leads elsewhere is left out."""
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts:
            return
        path = self._run_dir
        with storage_errors(f"create {path}"):
            make_folder(path)
            for part in parts[:-1]:
                path = path / part
                make_folder(path)
        self._write(path / parts[-1], data, begins)

    def _write(self, path: Path, data: bytes, begins: int) -> None:
        with (
            storage_errors(f"write {path}"),
            os.fdopen(open_file(path, os.O_WRONLY | os.O_CREAT), "wb") as file,
        ):
            file.seek(begins)
            file.write(data)
            file.truncate()


class Cluster:
    """The Ray cluster that a search trains on. Raises UsageError when it cannot be joined."""

    def __init__(self, address: str) -> None:
        try:
            connect(address)
            self.cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        except TROUBLES as error:
            raise UsageError(f"--cluster {address}: {' '.join(str(error).split())[:200]}") from error

    def run(self, flags: Sequence[str], run_dir: Path, log: Path) -> RayRun:
        """Starts one as soon as a core is free."""
        return RayRun(flags, run_dir, log)
