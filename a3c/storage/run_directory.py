"""What a run directory is: its name, what is in it, and the right to write there.

checkpoints/Breakout-v0-a3c/        a second run of the same kind is Breakout-v0-a3c-2, and so on
    config.json                     settings, and one entry per start: command, versions, host
    status.json                     how it goes, replaced once a second
    metrics.jsonl                   one line per point of a curve
    ckpt-000012345/ best-.../       see a3c.storage.shelf
    lock                            held by the process that owns the run
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from a3c.errors import CheckpointError, StorageError, UsageError
from a3c.settings.config import Config, from_dict
from a3c.storage.atomic import storage_errors
from a3c.storage.records import read_json, write_json
from a3c.storage.run_lock import LOCK, RunLock
from a3c.storage.status import typed_status

CONFIG, STATUS, METRICS, LOGS = "config.json", "status.json", "metrics.jsonl", "logs"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass
class RunDirectory:
    """A run directory that this process owns until `close`.

    Nothing of a start is kept before `begin`: when it is refused, a new run's folder goes again.
    """

    path: Path
    run_id: str  # stays the same over all resumes
    resumed: bool
    checkpoint: Path | None  # the one that --load named; None: the newest
    lock: RunLock
    config: dict[str, Any]  # what config.json will say
    made: list[Path]  # folders that were created for it, the outermost first
    status_error: str = field(init=False, default="")  # why the last status was not written, or empty
    _begun: bool = field(init=False, default=False)

    def begin(self) -> None:
        """Writes config.json: the run is there. Raises StorageError."""
        with storage_errors(f"write {self.path / CONFIG}"):
            write_json(self.path / CONFIG, self.config)
        self._begun = True

    def check(self) -> None:
        """Raises StorageError when the folder was moved or deleted, or is another process's."""
        if not self.lock.still_mine():
            raise StorageError(
                f"{self.path} is no longer this run's folder: it was moved, deleted or replaced; "
                "continue from where it is now with --load"
            )

    def write_status(self, status: Mapping[str, Any]) -> bool:
        """Replaces status.json; False when the disk did not allow it, which never stops a run."""
        try:
            self.check()
            write_json(self.path / STATUS, status, durable=False)
        except (OSError, StorageError) as error:
            self.status_error = getattr(error, "strerror", None) or str(error)
            return False
        self.status_error = ""
        return True

    def close(self) -> None:
        """Lets the next process have the directory; safe to call twice."""
        if not self._begun and not self.resumed and self.lock.still_mine():
            self._remove()
        self.lock.release()

    def _remove(self) -> None:
        """Takes back what this start made."""
        if self.made:
            shutil.rmtree(self.made[-1], ignore_errors=True)
        for name in (LOCK, STATUS, f"{LOGS}/main.log"):
            with suppress(OSError):
                os.unlink(self.path / name)
        for folder in (self.path / LOGS, *reversed(self.made)):
            with suppress(OSError):  # unless somebody else uses it
                os.rmdir(folder)

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def run_name(env: str, algo: str) -> str:
    """The folder name of a run; "ALE/Pong-v5" gives "ALE-Pong-v5-a3c". Raises UsageError for an id that
    is not fit for a file name."""
    name = f"{env}-{algo}".replace("/", "-").replace(":", "-")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--env {env[:60]!r} cannot name a folder; an id has at most 90 letters, digits and . _ - / :"
        )
    return name


def read_status(run_dir: Path) -> dict[str, Any] | None:
    """The last status of a run; None when there is none that can be read."""
    try:
        return load_status(run_dir)
    except StorageError:
        return None


def load_status(run_dir: Path) -> dict[str, Any]:
    """The last status of a run. Raises StorageError, which says why it cannot be read."""
    path, hint = run_dir / STATUS, "look at the logs beside it"
    try:
        return typed_status(read_json(path))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; {hint}") from error
    except ValueError as error:
        raise StorageError(f"{path} is damaged: {error}; {hint}") from error


def load_config(run_dir: Path) -> Config:
    """The settings a run was last started with. Raises CheckpointError or StorageError."""
    return from_dict(read_config(run_dir)["settings"], str(run_dir / CONFIG))


def read_config(run_dir: Path) -> dict[str, Any]:
    """config.json: "run_id", "settings" and "starts". Raises CheckpointError or StorageError."""
    try:
        saved = read_json(run_dir / CONFIG)
    except OSError as error:
        raise StorageError(f"cannot read {run_dir / CONFIG}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{run_dir / CONFIG} is damaged: {error}") from error
    kinds = {"run_id": str, "settings": dict, "starts": list}
    if not all(isinstance(saved.get(name), kind) for name, kind in kinds.items()):
        raise CheckpointError(f"{run_dir / CONFIG} is damaged: it lacks a run's settings")
    return saved
