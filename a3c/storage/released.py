"""The agents that come with the program: packages in checkpoints/released, called "released:NAME".

`released.toml` beside them says how each was trained. It is read here alone: by the cards of the packages, by
`make reproduce`, and by what tells how to train one's own.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from a3c.errors import UsageError
from a3c.settings.config import RUNS_FOLDER
from a3c.settings.values import did_you_mean, shown
from a3c.storage.atomic import read_regular
from a3c.storage.manifest import MANIFEST
from a3c.storage.records import read_json
from a3c.storage.run_directory import CONFIG

PREFIX = "released:"
"""What the name of such an agent begins with, wherever a checkpoint is taken."""

FOLDER = Path(__file__).resolve().parents[2] / RUNS_FOLDER / "released"
"""Where they are: in a clone of the repository; an installed wheel has none."""

_TABLE, _MAX_BYTES = "released.toml", 2**16


@dataclass(frozen=True)
class Recipe:
    """How a released agent was trained and is to be judged: its table in released.toml."""

    name: str
    flags: str  # of `a3c run`: all that decides what it learns
    checkpoint: str = "newest"  # of its run: "newest" or "best"
    greedy: bool = False  # whether the likeliest action is taken in its games
    note: str = ""  # what else is to be known of the training, a sentence for the card

    @property
    def command(self) -> str:
        """What trains one like it."""
        return f"a3c run {self.flags}"

    @property
    def path(self) -> Path:
        """The folder of its package."""
        return FOLDER / self.name


def recipes() -> dict[str, Recipe]:
    """Those of all agents by name, the ones most worth seeing first; not all have their package here."""
    path = FOLDER / _TABLE
    if not path.is_file():
        return {}
    tables = tomllib.loads(read_regular(path, _MAX_BYTES).decode())
    return {name: Recipe(name, **table) for name, table in tables.items()}


def released() -> dict[str, Recipe]:
    """The agents whose package is there, the ones most worth seeing first."""
    return {name: recipe for name, recipe in recipes().items() if os.path.lexists(recipe.path / MANIFEST)}


def released_path(text: str, flag: str) -> Path:
    """The package that "released:NAME" means. Raises UsageError, which lists what there is.

    Args:
        flag: what it was given with, for messages.
    """
    name, there = text.removeprefix(PREFIX), released()
    if name in there:
        return there[name].path
    what = f"{flag} {PREFIX}{shown(name)[:60]}".strip()
    if not there:
        raise UsageError(f"{what}: no released agent is here; a clone of the repository has them")
    hint = did_you_mean(name, there)
    raise UsageError(f"{what}: no such released agent{hint}; there are {', '.join(there)}")


def recipe_at(path: Path) -> Recipe | None:
    """The released agent whose package has this place, whether it is there yet or not."""
    place = path.resolve()
    return recipes().get(place.name) if place.parent == FOLDER else None


def first_released(root: Path, env: str) -> Recipe | None:
    """The agent to show where nothing was trained yet; None when there is none, or `root` is another folder
    of runs than that of the clone.

    Args:
        root: where runs are.
        env: the environment that it has to be trained in; empty: any.
    """
    if root.resolve() != FOLDER.parent:
        return None
    found = (recipe for recipe in released().values() if env in ("", _env_of(recipe.path)))
    return next(found, None)


def _env_of(package: Path) -> str:
    try:
        return str(read_json(package / CONFIG)["env"]["env_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # whoever reads it says what is wrong
