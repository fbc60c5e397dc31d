"""Opening a run: its folder is made or found, locked, and the start noted in its config.json."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import platform
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from a3c.errors import UsageError
from a3c.settings.config import Config
from a3c.storage.atomic import FOLDER_MODE, storage_errors
from a3c.storage.find_run import find_run, path_of
from a3c.storage.records import write_json
from a3c.storage.run_directory import CONFIG, METRICS, STATUS, RunDirectory, read_config, run_name
from a3c.storage.run_lock import RunLock

_PACKAGES = ("a3c", "torch", "numpy", "gymnasium", "ale-py", "opencv-python", "tensorboard", "safetensors")
_STARTS_KEPT = 500
_BAD_NAME = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EINVAL)


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
    path = path_of(text, "--run-dir")
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
    saved = read_config(path) if resumed else {"run_id": secrets.token_hex(4), "starts": []}
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


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
