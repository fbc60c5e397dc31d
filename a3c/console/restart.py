"""`a3c restart-worker`: has a running run replace one of its processes, asked from another shell.

The request is an empty file in the run directory, `restart.worker-3`. Its name is all there is to read, the
main process compares it with the names of its own children, and whoever may not write there cannot ask.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from a3c.console.status import add_run, find_run
from a3c.errors import A3CError, UsageError
from a3c.files import open_file
from a3c.settings.flags import Parser
from a3c.storage.atomic import storage_errors
from a3c.storage.run_directory import load_status
from a3c.storage.run_lock import lock_holder

_log = logging.getLogger(__name__)
_PREFIX = "restart."
_PATIENCE_S = 60.0


def restart_worker(argv: Sequence[str]) -> int:
    """`a3c restart-worker [RUN] ID`."""
    parser = Parser("a3c restart-worker", "Ends one process of a run and starts it anew; the others go on.")
    add_run(parser)
    parser.add_argument("id", metavar="ID", help="number of the worker, or evaluator")
    options = parser.parse(argv)
    run_dir = find_run(options.run)
    if lock_holder(run_dir) is None:
        raise UsageError(f"{run_dir} is not running")
    before = _child(run_dir, options.id)
    name = options.id if options.id == "evaluator" else f"worker-{int(options.id)}"
    request(run_dir, name)
    after = _wait_for_another(run_dir, options.id, before.get("pid"))
    print(f"{name} runs again, as process {after['pid']}")
    return 0


def request(run_dir: Path, name: str) -> None:
    """Asks the run's main process to replace a child. Raises StorageError."""
    with storage_errors(f"write to {run_dir}"):
        os.close(open_file(run_dir / f"{_PREFIX}{name}", os.O_WRONLY | os.O_CREAT))


class Requests:
    """The requests in a run's folder, as its main process takes them."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._ignored: set[str] = set()
        self.take(())  # those of an earlier start are void

    def take(self, names: Collection[str]) -> list[str]:
        """The children that are to be replaced. A request that cannot be removed is not honoured, or it would
        be again and again; that is said once."""
        found = []
        with suppress(OSError):
            for file in sorted(os.listdir(self._run_dir)):
                if file.startswith(_PREFIX) and file not in self._ignored and self._remove(file):
                    found.append(file.removeprefix(_PREFIX))
        return [name for name in found if name in names]

    def _remove(self, file: str) -> bool:
        try:
            os.unlink(self._run_dir / file)
        except OSError as error:
            self._ignored.add(file)
            _log.warning("%s is ignored: it cannot be removed (%s)", self._run_dir / file, error.strerror)
            return False
        return True


def _child(run_dir: Path, id_: str) -> dict[str, Any]:
    """What the status says of one child. Raises UsageError for one that is not there, and StorageError."""
    found = load_status(run_dir)
    if id_ == "evaluator" and (child := found.get("evaluator")):
        return dict(child)
    workers: list[dict[str, Any]] = found.get("workers") or []
    for worker in workers:
        if str(worker.get("id")) == id_:
            return worker
    raise UsageError(f"{run_dir} has no worker {id_[:20]!r}: name 0 to {len(workers) - 1}, or evaluator")


def _wait_for_another(run_dir: Path, id_: str, pid: Any) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        child = _child(run_dir, id_)
        if child.get("pid") not in (pid, None) and child.get("state") == "running":
            return child
        time.sleep(0.2)
    raise A3CError(f"no new process runs after {_PATIENCE_S:g} s; see the logs in {run_dir / 'logs'}")
