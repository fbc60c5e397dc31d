"""Search spaces of `a3c tune`: NAME.toml, one table per setting. Standard library only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from a3c.errors import UsageError
from a3c.settings.config import settings
from a3c.settings.values import did_you_mean, parse_number
from a3c.storage.atomic import read_regular

FOLDER = Path(__file__).parent
_MAX_BYTES = 2**20

PATHS = ("load", "run_dir", "init_from")
"""Settings that name files, which what is read must not."""

_NOT_SEARCHED = ("env", "env_kwargs", "preset", "seed", *PATHS)
"""What says where and what is trained, and even which code runs, which a file must not."""


@dataclass(frozen=True)
class Range:
    """What one setting may be: one of `choices`, or a number from low to high, both included."""

    name: str
    whole: bool = False
    low: float = 0.0
    high: float = 0.0
    log: bool = False  # drawn evenly on a logarithmic scale
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Space:
    """A search space."""

    summary: str
    preset: str  # the preset its trials start from; empty: that of the environment
    ranges: tuple[Range, ...]


def spaces() -> list[str]:
    """The names of those that come along."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_space(name: str) -> Space:
    """The space of that name, or of a TOML file. Raises UsageError."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        hint = did_you_mean(name, spaces()) or f"; there are {', '.join(spaces())}"
        raise UsageError(f"--space {name}: no such search space{hint}, or a .toml file of your own")
    try:
        data = tomllib.loads(read_regular(path.resolve(), _MAX_BYTES).decode())
        ranges = tuple(_range(key, table) for key, table in data["parameters"].items())
        return Space(str(data["summary"]), str(data.get("preset", "")), ranges)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: not a search space: {error}") from error


def _range(name: str, table: Mapping[str, Any]) -> Range:
    setting = settings().get(name)
    if setting is None:
        raise ValueError(f"unknown setting {name!r}{did_you_mean(name, settings())}")
    if name in _NOT_SEARCHED:
        raise ValueError(f"{name} is no setting to search for; it goes with the flags after --")
    if "choices" in table:
        return Range(name, choices=tuple(table["choices"]))
    low, high, log = parse_number(table["low"]), parse_number(table["high"]), bool(table.get("log", False))
    if not low < high or (log and low <= 0):
        raise ValueError(f"{name}: {low:g} to {high:g} is no range" + (" for a logarithm" if log else ""))
    return Range(name, setting.type is int, low, high, log)
