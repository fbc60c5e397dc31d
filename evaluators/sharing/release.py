"""Releasing an agent: a package in checkpoints/released, whose run was trained as released.toml says."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path
from typing import Any

from a3c.envs import complete_flags, resolve_env
from a3c.errors import UsageError
from a3c.settings.config import Config, from_dict, resolve
from a3c.settings.config import settings as known_settings
from a3c.settings.cores import usable_cores
from a3c.settings.flags import Parser, add_settings, given_settings
from a3c.storage.find_run import named_run
from a3c.storage.released import FOLDER, Recipe, recipe_at, recipes
from a3c.storage.run_directory import read_config
from a3c.system import processor
from a3c.trained.find import Trained, find_trained

_OF_A_RUN = ("seed", "workers", "max_steps", "target_score", "init_from")
"""What counts of the group "run": the others do not decide what is learned."""


def releasing(out: Path) -> Recipe | None:
    """How the agent that is to be released as `out` was trained; None for a package elsewhere. Raises
    UsageError where released.toml does not say."""
    recipe = recipe_at(out)
    if recipe is None and out.resolve().parent == FOLDER:
        there = ", ".join(recipes()) or "none"
        raise UsageError(
            f"--out {out}: released.toml has no {out.name}, only {there}; say there how it was trained"
        )
    return recipe


def find_release(run: str, recipe: Recipe) -> Trained:
    """The checkpoint of a run that is to be released. Raises UsageError or CheckpointError."""
    if not run:
        raise UsageError("name the run that is to be released")
    found = named_run(run)
    if found.checkpoint:
        return find_trained(run)
    return find_trained(recipe.checkpoint, str(found.path))


def origin_of(trained: Trained, recipe: Recipe) -> dict[str, Any]:
    """How and where an agent was trained, for its results and its card. Raises UsageError where its settings
    are not those of the recipe."""
    saved = from_dict(trained.checkpoint.state["config"], str(trained.path))
    told = config_of(recipe)
    if different := differing(saved, told):
        raise UsageError(f"{trained.path} was not trained as released.toml says: {'; '.join(different)}")
    starts = read_config(trained.run_dir)["starts"]
    return {
        "name": recipe.name,
        "command": recipe.command,
        "seed": saved.run.seed,
        "workers": saved.run.workers,
        "hours": round(trained.checkpoint.state["elapsed_s"] / 3600, 4),
        "processor": "; ".join(dict.fromkeys(map(_processor, starts))),
        "starts": len(starts),
        "date": str(starts[0]["started"])[:10],
        "note": recipe.note,
    }


def config_of(recipe: Recipe) -> Config:
    """The settings that a recipe's flags give. Raises UsageError."""
    parser = Parser("a3c run", "")
    add_settings(parser)
    given = given_settings(parser.parse(shlex.split(recipe.flags)))
    return resolve_env(resolve(complete_flags(given)))


def differing(saved: Config, told: Config) -> list[str]:
    """In words, the settings that decide what is learned and are not the same."""
    counting = [s for s in known_settings().values() if s.group not in ("eval", "run") or s.name in _OF_A_RUN]
    pairs = [(s.flag, saved.get(s.name), told.get(s.name)) for s in counting]
    return [f"{flag} {was}, not {wanted}" for flag, was, wanted in pairs if was != wanted]


def _processor(start: dict[str, Any]) -> str:
    """Where a start of a run was; older runs did not write it down, but on which host."""
    if "processor" not in start and start.get("host") == socket.gethostname():
        start = {"processor": processor(), "cores": usable_cores()}
    name, cores = start.get("processor", "a processor that was not recorded"), start.get("cores")
    return f"{name}, {cores} cores" if cores else str(name)
