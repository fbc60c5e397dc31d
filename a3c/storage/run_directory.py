"""What a run directory is: its name, what is in it, and the right to write there.

checkpoints/Breakout-v0-a3c/        a second run of the same kind is Breakout-v0-a3c-2, and so on
    config.json                     settings, and one entry per start: command, versions, host
    status.json                     how it goes, replaced once a second
    metrics.jsonl                   one line per point of a curve
    ckpt-000012345/ best-.../       see a3c.storage.shelf
    lock                            held by the process that owns the run
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from a3c.errors import CheckpointError, StorageError, UsageError
from a3c.settings.config import Config, from_dict
from a3c.storage.records import read_json, write_json
from a3c.storage.run_lock import RunLock

CONFIG, STATUS, METRICS = "config.json", "status.json", "metrics.jsonl"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass
class RunDirectory:
    """A run directory that this process owns until `close`."""

    path: Path
    run_id: str  # stays the same over all resumes
    resumed: bool
    checkpoint: Path | None  # the one that --load named; None: the newest
    lock: RunLock
    status_error: str = field(init=False, default="")  # why the last status was not written, or empty

    def write_status(self, status: Mapping[str, Any]) -> bool:
        """Replaces status.json; False when the disk did not allow it, which never stops a run."""
        try:
            write_json(self.path / STATUS, status, durable=False)
        except OSError as error:
            self.status_error = error.strerror or str(error)
            return False
        self.status_error = ""
        return True

    def close(self) -> None:
        """Lets the next process have the directory; safe to call twice."""
        self.lock.release()

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
        return read_json(run_dir / STATUS)
    except (OSError, ValueError):
        return None


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
