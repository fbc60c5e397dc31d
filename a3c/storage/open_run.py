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
from typing import Any

from a3c.errors import UsageError
from a3c.files import FOLDER_MODE, make_folder
from a3c.settings.config import Config
from a3c.settings.cores import usable_cores
from a3c.storage.atomic import storage_errors
from a3c.storage.find_run import find_run, path_of
from a3c.storage.run_directory import CONFIG, METRICS, STATUS, RunDirectory, read_config, run_name
from a3c.storage.run_lock import RunLock
from a3c.system import processor

_PACKAGES = ("a3c", "torch", "numpy", "gymnasium", "ale-py", "opencv-python", "tensorboard", "safetensors")
_STARTS_KEPT = 500
_BAD_NAME = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EINVAL)


def open_run(root: Path, config: Config, command: Sequence[str]) -> RunDirectory:
    """Takes the directory of a new or a continued run; `RunDirectory.begin` will note the start in it.

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
    found, made = None, list[Path]()
    if config.run.load:
        found = find_run(root, {name: config.get(name) for name in ("load", "run_dir", "env", "algo")})
        path = found.path
    elif config.run.run_dir:
        path, made = _make_named(config.run.run_dir)
    else:
        path, made = _make_numbered(root, run_name(config.env.env, config.learn.algo))
    lock = RunLock(path)
    try:
        if not found and _holds_run(path):
            raise UsageError(
                f"{path} already holds a run; continue it with --load {path}, or name another --run-dir"
            )
        content = _start(path, config, command, resumed=found is not None)
    except BaseException:
        lock.release()
        raise
    checkpoint = found.checkpoint if found else None
    return RunDirectory(path, content["run_id"], found is not None, checkpoint, lock, content, made)


def _make_named(text: str) -> tuple[Path, list[Path]]:
    path = path_of(text, "--run-dir")
    made = _make_folders(path)
    if not made and not os.path.isdir(path):
        raise UsageError(f"--run-dir {text} is a file; name a folder")
    return path, made


def _make_numbered(root: Path, name: str) -> tuple[Path, list[Path]]:
    path, number = root / name, 1
    while not (made := _make_folders(path)):
        number += 1
        path = root / f"{name}-{number}"
    return path, made


def _make_folders(path: Path) -> list[Path]:
    """Creates a folder and those above it, which it returns; none when its name is taken. mkdir decides, so
    that starts at the same instant never get the same folder."""
    made: list[Path] = []
    try:
        for parent in reversed(path.parents):
            if not os.path.isdir(parent):
                make_folder(parent)
                made.append(parent)
        os.mkdir(path, FOLDER_MODE)
        os.chmod(path, FOLDER_MODE)
    except OSError as error:
        if os.path.lexists(path):
            return []
        if error.errno in _BAD_NAME:
            raise UsageError(f"{str(path)[:200]} cannot be a folder: {error.strerror}") from error
        with storage_errors(f"create {path}"):
            raise
    return [*made, path]


def _holds_run(path: Path) -> bool:
    if any((path / name).exists() for name in (CONFIG, STATUS, METRICS)):
        return True
    return any(any(path.glob(pattern)) for pattern in ("ckpt-*", "best-*", "corrupt-*"))


def _start(path: Path, config: Config, command: Sequence[str], resumed: bool) -> dict[str, Any]:
    """What config.json will say; its history of starts only grows."""
    saved = read_config(path) if resumed else {"run_id": secrets.token_hex(4), "starts": []}
    start = {
        "command": list(command),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": usable_cores(),
        "versions": _versions(),
    }
    starts = [*saved["starts"], start]
    return {
        "run_id": saved["run_id"],
        "settings": config.to_dict(),
        "starts": starts[:1] + starts[1:][-_STARTS_KEPT:],
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
