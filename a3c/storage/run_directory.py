"""The folder a run lives in: its name, finding it again, and who may write to it.

checkpoints/Breakout-v0-a3c/        a second run of the same kind is Breakout-v0-a3c-2, and so on
    config.json                     settings, and one entry per start: command, versions, host
    status.json                     how it goes, replaced once a second
    metrics.jsonl                   one line per point of a curve
    ckpt-000012345/ best-.../       see a3c.storage.shelf
    lock                            held by the process that owns the run
"""

from __future__ import annotations

import errno
import importlib.metadata
import os
import platform
import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from a3c.errors import CheckpointError, StorageError, UsageError
from a3c.settings.config import Config, from_dict, resolve, resolve_resumed
from a3c.storage.atomic import FOLDER_MODE, storage_errors
from a3c.storage.records import JsonLines, read_json, write_json
from a3c.storage.run_lock import RunLock

CONFIG, STATUS, METRICS = "config.json", "status.json", "metrics.jsonl"
NEWEST = "newest"
"""The value of --load that names no particular run."""

_PACKAGES = ("a3c", "torch", "numpy", "gymnasium", "ale-py", "opencv-python", "tensorboard", "safetensors")
_STARTS_KEPT = 500
_BAD_NAME = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EINVAL)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass
class RunDirectory:
    """A run directory that this process owns until `close`."""

    path: Path
    run_id: str  # stays the same over all resumes
    resumed: bool
    checkpoint: Path | None  # the one that --load named; None: the newest
    lock: RunLock
    metrics: JsonLines = field(init=False)
    status_error: str = field(init=False, default="")  # why the last status was not written, or empty

    def __post_init__(self) -> None:
        self.metrics = JsonLines(self.path / METRICS)

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
        self.metrics.close()
        self.lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class SavedRun:
    """A run found on disk."""

    path: Path
    checkpoint: Path | None = None  # named by the user; None: the newest


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
    return from_dict(_read_config(run_dir)["settings"], str(run_dir / CONFIG))


# ---------------------------------------------------------------------------------------------------
# Finding


def choose_config(root: Path, given: Mapping[str, Any]) -> Config:
    """The settings of the run that the flags ask for, new or continued.

    For a continued run they are its saved ones with the flags on top, `run_dir` is its folder, and `load`
    the checkpoint that was named or "newest". Creates nothing.

    Raises:
        UsageError: the flags have mistakes, contradict the saved run, or name nothing to continue.
        CheckpointError: the saved settings are damaged.
        StorageError: they cannot be read.
    """
    if not given.get("load"):
        return resolve(given)
    saved = find_run(root, given)
    config = resolve_resumed(load_config(saved.path), given)
    return config.replace(run_dir=str(saved.path), load=str(saved.checkpoint or NEWEST))


def find_run(root: Path, given: Mapping[str, Any]) -> SavedRun:
    """The run that `load` and `run_dir` of the flags name; for "newest" without a folder, the newest under
    `root` of their env and algo. Raises UsageError when there is none."""
    load, folder = given["load"], given.get("run_dir", "")
    saved = _named_run(_path(load, "--load")) if load != NEWEST else None
    if folder:
        in_folder = _named_run(_path(folder, "--run-dir"))
        if saved and saved.path.resolve() != in_folder.path.resolve():
            raise UsageError(f"--load {load} is not in --run-dir {folder}; give only one of them")
        saved = saved or in_folder
    if saved:
        return saved
    # a preset may decide the environment
    wanted = resolve({name: given[name] for name in ("env", "algo", "preset") if name in given})
    return _newest_run(root, wanted.env.env, wanted.learn.algo)


def _named_run(path: Path) -> SavedRun:
    if os.path.islink(path):
        path = path.resolve()
    if os.path.isfile(path / CONFIG):
        return SavedRun(path)
    if os.path.isdir(path) and os.path.isfile(path.parent / CONFIG):
        return SavedRun(path.parent, path)
    if not os.path.exists(path):
        raise UsageError(f"nothing to load: {str(path)[:200]} does not exist")
    raise UsageError(
        f"nothing to load: {path} is neither a run directory (it has no {CONFIG}) nor a checkpoint in one; "
        "--init-from takes weights alone"
    )


def _newest_run(root: Path, env: str, algo: str) -> SavedRun:
    """Runs that hold a checkpoint come first: one that died young must not hide one with days of work."""
    runs = []
    for path in sorted(root.glob("*/" + CONFIG)):
        with suppress(CheckpointError, StorageError):  # a damaged folder must not hide the others
            config = load_config(path.parent)
            if (config.env.env, config.learn.algo) == (env, algo):
                runs.append((_holds_checkpoint(path.parent), _last_change(path.parent), path.parent))
    if not runs:
        raise UsageError(f"nothing to load: no run of {env} with {algo} in {root}; start one without --load")
    return SavedRun(max(runs)[2])


def _holds_checkpoint(run_dir: Path) -> bool:
    return any(run_dir.glob("ckpt-*")) or any(run_dir.glob("corrupt-ckpt-*"))


def _last_change(run_dir: Path) -> float:
    times = []
    for path in (run_dir / CONFIG, run_dir / STATUS, *run_dir.glob("ckpt-*")):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)


def _path(text: str, flag: str) -> Path:
    if not text.isprintable():
        raise UsageError(f"{flag} {text[:60]!r} has characters that are not fit for a path")
    return Path(text).expanduser()


# ---------------------------------------------------------------------------------------------------
# Opening


def open_run(root: Path, config: Config, command: Sequence[str]) -> RunDirectory:
    """Takes the directory of a new or a continued run and notes this start in its config.json.

    Args:
        root: where runs without --run-dir go.
        config: from `choose_config`, completed by the environment's own defaults.
        command: what was typed.

    Raises:
        UsageError: the directory already holds a run that was not asked for, or none that was.
        RunDirectoryInUse: another process owns it.
        CheckpointError: its config.json is damaged.
        StorageError: it cannot be created or written to.
    """
    saved = None
    if config.run.load:
        saved = find_run(root, {name: config.get(name) for name in ("load", "run_dir", "env", "algo")})
        path = saved.path
    elif config.run.run_dir:
        path = _make_named(config.run.run_dir)
    else:
        path = _make_numbered(root, run_name(config.env.env, config.learn.algo))
    lock = RunLock(path)
    try:
        if not saved and _holds_run(path):
            raise UsageError(
                f"{path} already holds a run; continue it with --load {path}, or name another --run-dir"
            )
        run_id = _note_start(path, config, command, resumed=saved is not None)
    except BaseException:
        lock.release()
        raise
    return RunDirectory(path, run_id, saved is not None, saved.checkpoint if saved else None, lock)


def _make_named(text: str) -> Path:
    path = _path(text, "--run-dir")
    if not _make_folder(path) and not os.path.isdir(path):
        raise UsageError(f"--run-dir {text} is a file; name a folder")
    return path


def _make_numbered(root: Path, name: str) -> Path:
    path, number = root / name, 1
    while not _make_folder(path):
        number += 1
        path = root / f"{name}-{number}"
    return path


def _make_folder(path: Path) -> bool:
    """Creates a folder and those above it; False when its name is taken. mkdir decides, so that starts
    at the same instant never get the same folder."""
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True)
    except OSError as error:
        if os.path.lexists(path):
            return False
        if error.errno in _BAD_NAME:
            raise UsageError(f"{str(path)[:200]} cannot be a folder: {error.strerror}") from error
        with storage_errors(f"create {path}"):
            raise
    return True


def _holds_run(path: Path) -> bool:
    if any((path / name).exists() for name in (CONFIG, STATUS, METRICS)):
        return True
    return any(any(path.glob(pattern)) for pattern in ("ckpt-*", "best-*", "corrupt-*"))


def _note_start(path: Path, config: Config, command: Sequence[str], resumed: bool) -> str:
    """Writes config.json; its history of starts only grows. Returns the run's id."""
    saved = _read_config(path) if resumed else {"run_id": secrets.token_hex(4), "starts": []}
    start = {
        "command": list(command),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "platform": platform.platform(),
        "versions": _versions(),
    }
    starts = [*saved["starts"], start]
    content = {
        "run_id": saved["run_id"],
        "settings": config.to_dict(),
        "starts": starts[:1] + starts[1:][-_STARTS_KEPT:],
    }
    with storage_errors(f"write {path / CONFIG}"):
        write_json(path / CONFIG, content)
    return str(saved["run_id"])


def _read_config(run_dir: Path) -> dict[str, Any]:
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


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
