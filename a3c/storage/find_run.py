"""The one answer to "which run": of a name, of the flags, and the newest.

**The newest run** under a folder is the one that runs now; of several that run, the one started last; when
none runs, the one that ran last. Whoever needs weights leaves out runs that never had a checkpoint, so that a
run that died young hides no days of work.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from a3c.errors import CheckpointError, StorageError, UsageError
from a3c.settings.config import RUNS_FOLDER, Config, resolve, resolve_resumed
from a3c.storage.manifest import MANIFEST
from a3c.storage.released import PREFIX, released_path
from a3c.storage.run_directory import CONFIG, STATUS, load_config
from a3c.storage.run_lock import lock_holder

NEWEST = "newest"
"""The value of --load that names no particular run."""

_CHECKPOINTS = tuple(f"{prefix}{kind}-" for prefix in ("", "corrupt-", "aside-") for kind in ("ckpt", "best"))


class FoundRun(NamedTuple):
    """A run on the disk."""

    path: Path
    checkpoint: Path | None = None  # named by the user; None: the newest


def newest_run(root: Path, env: str = "", algo: str = "", *, saved: bool = False) -> Path | None:
    """The newest run under `root`, see the module; None when there is none.

    Args:
        env: only runs of this environment; empty: of any.
        algo: only runs of this algorithm; empty: of any.
        saved: only runs that have a checkpoint, or had one before it was damaged.
    """
    found = [path.parent for path in root.glob(f"*/{CONFIG}")]
    found = [path for path in found if (not saved or _was_saved(path)) and _is_of(path, env, algo)]
    return max(found, key=_last_alive, default=None)


def named_run(name: str, flag: str = "", root: Path = RUNS_FOLDER) -> FoundRun:
    """The run that a name means: its folder, also without `root` before it, or a checkpoint in it; also the
    folder of a package, which has a config.json too.

    Args:
        flag: what it was given with, for messages; empty: an argument.
        root: where runs are.

    Raises:
        UsageError: there is no such run.
    """
    path = path_of(name, flag)
    for place in (path, root / path):
        if found := _run_at(place.resolve() if os.path.islink(place) else place):
            return found
    what = f"{flag} {name[:200]}".strip()
    if not os.path.exists(path):
        raise UsageError(f"{what}: there is no such folder")
    hint = "; --init-from takes weights alone" if flag == "--load" else ""
    raise UsageError(f"{what} is neither a run directory (it has no {CONFIG}) nor a checkpoint in one{hint}")


def find_run(root: Path, given: Mapping[str, Any]) -> FoundRun:
    """The run that `load` and `run_dir` of the flags name; for "newest" without a folder, the newest under
    `root` of their env and algo. Raises UsageError when there is none."""
    load, folder = given["load"], given.get("run_dir", "")
    named = named_run(load, "--load", root) if load != NEWEST else None
    if named and os.path.lexists(named.path / MANIFEST):
        raise UsageError(
            f"--load {load} is a package, which has weights alone; start from them with --init-from"
        )
    if folder:
        in_folder = named_run(folder, "--run-dir", root)
        if named and named.path.resolve() != in_folder.path.resolve():
            raise UsageError(f"--load {load} is not in --run-dir {folder}; give only one of them")
        named = named or in_folder
    return named or _newest_of_kind(root, given)


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
    found = find_run(root, given)
    config = resolve_resumed(load_config(found.path), given)
    return config.replace(run_dir=str(found.path), load=str(found.checkpoint or NEWEST))


def path_of(text: str, flag: str) -> Path:
    """The path that a user typed, or that of the released agent it names. Raises UsageError for one that
    could not be shown, or no such agent."""
    if not text.isprintable():
        raise UsageError(f"{flag} {text[:60]!r} has characters that are not fit for a path")
    if text.startswith(PREFIX):
        return released_path(text, flag)
    return Path(text).expanduser()


def _newest_of_kind(root: Path, given: Mapping[str, Any]) -> FoundRun:
    # a preset may decide the environment
    wanted = resolve({name: given[name] for name in ("env", "algo", "preset") if name in given})
    env, algo = wanted.env.env, wanted.learn.algo
    path = newest_run(root, env, algo, saved=True) or newest_run(root, env, algo)
    if path is None:
        there = newest_run(root, env) or newest_run(root)
        hint = f"--load {there} continues another one" if there else "start one without --load"
        raise UsageError(f"nothing to load: no run of {env} with {algo} in {root}; {hint}")
    return FoundRun(path)


def _run_at(path: Path) -> FoundRun | None:
    if os.path.lexists(path / CONFIG):  # whatever it is: whoever reads it says so
        return FoundRun(path)
    if os.path.isdir(path) and os.path.lexists(path.parent / CONFIG):
        return FoundRun(path.parent, path)
    return None


def _was_saved(run_dir: Path) -> bool:
    with suppress(OSError):
        return any(name.startswith(_CHECKPOINTS) for name in os.listdir(run_dir))
    return False


def _is_of(run_dir: Path, env: str, algo: str) -> bool:
    if not env and not algo:
        return True
    try:
        config = load_config(run_dir)
    except (CheckpointError, StorageError):  # a damaged run must not hide the others
        return False
    return env in ("", config.env.env) and algo in ("", config.learn.algo)


def _last_alive(run_dir: Path) -> tuple[bool, float, Path]:
    started = _changed(run_dir / CONFIG)
    with suppress(StorageError):
        if lock_holder(run_dir) is not None:
            return True, started, run_dir
    return False, max(started, _changed(run_dir / STATUS)), run_dir


def _changed(path: Path) -> float:
    """When a file was written last; 0 for none."""
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
