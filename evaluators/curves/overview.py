"""Runs and packages side by side: what each was asked for and how far it came, read without their weights.

Anybody may have written these files: a folder that cannot be read costs its own line, never the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from a3c.console.status import checked_status
from a3c.errors import A3CError, CheckpointError, StorageError
from a3c.settings.algorithms import ALGOS
from a3c.settings.config import Config, from_dict
from a3c.settings.config import settings as known_settings
from a3c.settings.values import shown
from a3c.storage.manifest import MANIFEST
from a3c.storage.records import read_json
from a3c.storage.run_directory import CONFIG, load_config
from a3c.storage.status import typed_status

PACKAGE = "package"
"""The state of an agent that was packaged."""

_OF_A_START = ("load", "run_dir")
"""Settings that say where a run is, not what it does."""

_RESULTS = "results.json"
_ACROSS = ("env", "env_kwargs", "protocol")
"""Settings whose scores cannot be compared where they differ."""


@dataclass(frozen=True)
class Overview:
    """What there is to say of a run or a package."""

    path: Path
    env: str = ""
    algo: str = ""
    state: str = ""
    best_score: float | None = None  # of a package, the mean of its games
    last_score: float | None = None
    steps: float | None = None
    elapsed_s: float | None = None
    date: str = ""  # of the last change, in ISO 8601
    trouble: str = ""  # why it cannot be read
    settings: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Plain data, without the settings."""
        return {name: value for name, value in vars(self).items() if name != "settings"} | {
            "path": str(self.path)
        }


def overviews(root: Path) -> list[Overview]:
    """Of every run and package in `root` and in the folders in it, the newest first."""
    folders = {path.parent for pattern in (f"*/{CONFIG}", f"*/*/{CONFIG}") for path in root.glob(pattern)}
    return sorted(map(_overview_or_trouble, sorted(folders)), key=lambda found: found.date, reverse=True)


def overview(path: Path) -> Overview:
    """Of one run or package. Raises CheckpointError or StorageError."""
    return _of_package(path) if (path / MANIFEST).is_file() else _of_run(path)


def _overview_or_trouble(path: Path) -> Overview:
    try:
        return overview(path)
    except A3CError as error:
        return Overview(path, trouble=str(error), date=_changed(path))


def _of_run(path: Path) -> Overview:
    config, status = load_config(path), dict[str, Any]()
    with suppress(StorageError):
        status = checked_status(path)
    return _seen(path, config, config.to_dict(), status)


def _of_package(path: Path) -> Overview:
    try:
        settings: dict[str, Any] = read_json(path / CONFIG).get("config", {})
        results = read_json(path / _RESULTS) if (path / _RESULTS).exists() else {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no sound package: {error}") from error
    named = {"best_score": "mean_reward", "steps": "env_steps", "updated": "eval_datetime"}
    status = typed_status({ours: results.get(theirs) for ours, theirs in named.items()})
    config = from_dict(settings, str(path / CONFIG))
    return _seen(path, config, settings, {**status, "state": PACKAGE})


def _seen(path: Path, config: Config, groups: Mapping[str, Any], status: Mapping[str, Any]) -> Overview:
    return Overview(
        path,
        shown(config.env.env),
        config.learn.algo,
        shown(status.get("state") or "unknown"),
        status.get("best_score"),
        (status.get("evaluator") or {}).get("last_score"),
        status.get("steps"),
        status.get("elapsed_s"),
        shown(status.get("updated") or _changed(path)),
        settings=_flat(config, groups),
    )


def _flat(config: Config, groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The values of the settings that are in a file and that its algorithm uses."""
    known, algo = config.to_dict(), config.learn.algo
    return {
        name: known[s.group][name]
        for name, s in known_settings().items()
        if name in groups.get(s.group, ()) and name not in _OF_A_START and algo in (s.algos or ALGOS)
    }


def _changed(path: Path) -> str:
    with suppress(OSError):
        changed = datetime.fromtimestamp((path / CONFIG).lstat().st_mtime).astimezone()
        return changed.isoformat(timespec="seconds")
    return ""


# ---------------------------------------------------------------------------------------------------
# Side by side


def differing(found: Sequence[Overview]) -> dict[str, list[Any]]:
    """The settings that are not the same in all that have them, with the value in each; None elsewhere."""
    rows = {name: [one.settings[name] for one in found if name in one.settings] for name in known_settings()}
    return {
        name: [one.settings.get(name) for one in found]
        for name, values in rows.items()
        if any(value != values[0] for value in values)
    }


def are_comparable(found: Sequence[Overview]) -> bool:
    """Whether their scores are of the same environment, under the same rules."""
    return not differing(found).keys() & set(_ACROSS)
