"""From an environment's id to what is registered under it: the one door to the code of environments.

What is read never decides what code runs. An id "module:Id" imports the module only when a person typed it in
this very command (`a3c.settings.values.Typed`), and so it is with --env-kwargs that may name code.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points

import ale_py
import gymnasium
from gymnasium.envs.registration import EnvSpec as Registration

from a3c.envs.levels import LEVELS_ID, STEP_CAP
from a3c.envs.pixels import PIXELS_ID, PIXELS_STEP_CAP
from a3c.errors import A3CError, CheckpointError, UsageError
from a3c.settings.groups import EnvConfig
from a3c.settings.values import Typed, names_code, shown

gymnasium.register_envs(ale_py)  # here, because a spawned process knows only what it imports itself
gymnasium.register(LEVELS_ID, "a3c.envs.levels:FrozenLakeLevels", max_episode_steps=STEP_CAP)
gymnasium.register(PIXELS_ID, "a3c.envs.pixels:CartPolePixels", max_episode_steps=PIXELS_STEP_CAP)

RENAMED = {"Taxi-v3": "Taxi-v4"}
"""Ids that Gymnasium gave up, and the same environment's id today."""

DETERMINISTIC_SKIP = {"SpaceInvaders": 3}
"""Frame skip of the removed *Deterministic ids where it was not 4; lasers blink at that rate."""

_log = logging.getLogger(__name__)


def find(config: EnvConfig) -> Registration:
    """What is registered under the environment's id; of "module:Id", after the module is imported.

    Raises:
        UsageError: there is no such environment; names the closest.
        CheckpointError: code would be imported that only a file names.
    """
    if not re.fullmatch(r"[\w:./-]{1,200}", config.env):
        raise UsageError(f"--env {config.env[:60]!r}: not an environment id; those look like Breakout-v0")
    for name, value in config.env_kwargs.items():
        if names_code(value):
            raise CheckpointError(
                f"{name}={shown(value)} of {config.env} may name code, which is imported only when it is "
                f"typed: add --env-kwargs {name}=..., if you trust it"
            )
    module, _, name = config.env.rpartition(":")
    if module:
        _import(module, name, config.env)
    if name not in gymnasium.registry:
        raise UsageError(f"--env {config.env}: {_advice(name)}")
    return gymnasium.registry[name]


def full_id(name: str) -> str:
    """The id that a person means by "pong", "CartPole" or "space-invaders": a name in any case and without
    its version. Of several versions the newest is meant; of a game `-v0`, as in the default of --env.

    Returns:
        The id, which is said in the log; what is no such name, as it is.

    Raises:
        UsageError: it could mean several.
    """
    if not name or name in gymnasium.registry or name in RENAMED or ":" in name:
        return name
    wanted = _squeezed(name)
    found = [
        r for r in gymnasium.registry.values() if wanted in (_squeezed(r.id), _squeezed(_unversioned(r)))
    ]
    found = found or [r for r in gymnasium.registry.values() if wanted == _squeezed(r.name)]
    if len({_unversioned(r) for r in found}) > 1:
        raise UsageError(f"--env {name} may be {' or '.join(r.id for r in found)}; name one of them")
    if not found:
        return name
    by_version = sorted(found, key=lambda r: r.version or 0)
    taken = by_version[0 if is_atari(found[0]) else -1]
    others = ", ".join(r.id for r in _same_game(taken))
    _log.warning("--env %s: taking %s%s", name, taken.id, f"; others are {others}" if others else "")
    return Typed(taken.id)


def _squeezed(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


def _unversioned(registration: Registration) -> str:
    return "/".join(part for part in (registration.namespace, registration.name) if part)


def _same_game(taken: Registration) -> list[Registration]:
    """The other ids of a game, or the other versions of an environment."""
    game = taken.kwargs.get("game") if is_atari(taken) else None
    return [
        r
        for r in gymnasium.registry.values()
        if r.id != taken.id
        and (is_atari(r) and r.kwargs["game"] == game if game else _unversioned(r) == _unversioned(taken))
    ]


def _import(module: str, name: str, env_id: str) -> None:
    """Imports the module of an id that was typed, also from the current folder; where that alone registers
    nothing of the name, as with minatar.gym, its `register_envs` is called. Raises UsageError or
    CheckpointError."""
    if not isinstance(env_id, Typed):
        raise CheckpointError(
            f"{env_id} is an environment in a module, which is imported only when it is typed: "
            f"add --env {env_id}, if you trust it"
        )
    with suppress(OSError):  # the current folder may be gone
        if (here := os.getcwd()) not in sys.path:
            sys.path.append(here)
    with others_code(f"--env {env_id}: the module cannot be imported"):
        register = getattr(importlib.import_module(module), "register_envs", None)
        if name not in gymnasium.registry and callable(register):
            register()


@contextmanager
def others_code(what: str) -> Iterator[None]:
    """Whatever an environment raises becomes a UsageError of one line, with its own words."""
    try:
        yield
    except A3CError:
        raise
    except (Exception, SystemExit) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{what}: {words.removesuffix(':')}") from error


def _advice(name: str) -> str:
    """What to do about an id that is not registered."""
    if match := re.fullmatch(r"(\w+)Deterministic-v([04])", name):
        game, version = match.groups()
        today = f"{game}NoFrameskip-v{version}"
        if today in gymnasium.registry:
            skip = DETERMINISTIC_SKIP.get(game, 4)
            return f"no longer registered; the same game is --env {today} --frame-skip {skip}"
    if "-ram" in name:
        today = re.sub("-ram(Deterministic)?", "", name)
        advice = f"; for its pictures take --env {today}" if today in gymnasium.registry else ""
        return f"observations of the machine's memory (-ram) are not supported{advice}"
    if module := _module_of(name):
        return f"not registered; if it is one of the package {module}, take --env {module}:{name}"
    by_lower = {registered.lower(): registered for registered in gymnasium.registry}
    near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, 3)]
    return "no such environment" + (f"; did you mean {', '.join(near)}?" if near else "")


def _module_of(name: str) -> str:
    """The module of an installed package that says it has ids that begin so, as MinAtar does, or is called so
    itself, as minigrid is for MiniGrid-Empty-5x5-v0; else nothing. Imports none."""
    package = re.split(r"[-/]", name)[0].lower()
    for point in entry_points(group="gymnasium.envs"):
        if point.name.lower() == package:
            return point.module
    known = package.isidentifier() and package not in sys.stdlib_module_names
    return package if known and importlib.util.find_spec(package) else ""


def is_atari(registration: Registration) -> bool:
    """Whether it is one of the games that ale-py registers."""
    return registration.entry_point == "ale_py.env:AtariEnv"
