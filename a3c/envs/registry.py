"""From an environment's id to complete settings, or to a message that helps."""

from __future__ import annotations

import difflib
import importlib
import logging
import re

import ale_py
import gymnasium
from gymnasium.envs.registration import EnvSpec as Registration

from a3c.envs.atari_settings import FRAME_SKIP, AtariSettings
from a3c.envs.gym_env import GymEnvironment
from a3c.envs.levels import LEVELS_ID, STEP_CAP
from a3c.envs.pixels import PIXELS_ID, PIXELS_STEP_CAP
from a3c.errors import UsageError
from a3c.settings.algorithms import FACTS, WITH_NETWORK
from a3c.settings.config import Config

gymnasium.register_envs(ale_py)  # here, because a spawned process knows only what it imports itself
gymnasium.register(LEVELS_ID, "a3c.envs.levels:FrozenLakeLevels", max_episode_steps=STEP_CAP)
gymnasium.register(PIXELS_ID, "a3c.envs.pixels:CartPolePixels", max_episode_steps=PIXELS_STEP_CAP)

RENAMED = {"Taxi-v3": "Taxi-v4"}
"""Ids that Gymnasium gave up, and the same environment's id today."""

DETERMINISTIC_SKIP = {"SpaceInvaders": 3}
"""Frame skip of the removed *Deterministic ids where it was not 4; lasers blink at that rate."""

ATARI_FLAGS = ("frame_skip", "frame_stack", "frame_size", "crop")

_log = logging.getLogger(__name__)


def find(env_id: str) -> Registration:
    """The registered environment; "module:id" imports the module first, as in Gymnasium.

    Raises:
        UsageError: there is none; names the closest.
    """
    if not re.fullmatch(r"[\w:./-]{1,200}", env_id):
        raise UsageError(f"--env {env_id[:60]!r}: not an environment id; those look like Breakout-v0")
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UsageError(f"--env {env_id}: the module cannot be imported: {error}") from error
    if name not in gymnasium.registry:
        raise UsageError(f"--env {env_id}: {_advice(name)}")
    return gymnasium.registry[name]


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
    by_lower = {registered.lower(): registered for registered in gymnasium.registry}
    near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, 3)]
    return "no such environment" + (f"; did you mean {', '.join(near)}?" if near else "")


def is_atari(registration: Registration) -> bool:
    """Whether it is one of the games that ale-py registers."""
    return registration.entry_point == "ale_py.env:AtariEnv"


def resolve_env(config: Config) -> Config:
    """Fills in every setting that was left to the environment, and the model.

    What remains None is the environment's own: `max_episode_steps`, `frame_skip` of an id that skips
    frames itself, and the Atari settings of anything else.

    Raises:
        UsageError: no such environment, it cannot be made, or something does not go with it.
    """
    old, today = config.env.env, RENAMED.get(config.env.env)
    if today and old not in gymnasium.registry and today in gymnasium.registry:
        _log.warning("%s is called %s now, with the same default dynamics; taking that", old, today)
        config = config.replace(env=today)
    registration = find(config.env.env)
    return _resolve_atari(config, registration) if is_atari(registration) else _resolve_other(config)


def _resolve_atari(config: Config, registration: Registration) -> Config:
    env, facts = config.env, FACTS[config.learn.algo]
    if facts.tabular:
        raise UsageError(_no_states(config))
    model = config.learn.model or next(iter(facts.models), None)
    if model == "mlp":
        raise UsageError(_not_for_pictures(config))
    AtariSettings.resolve(env, registration.kwargs)
    own_skip = {**registration.kwargs, **env.env_kwargs}["frameskip"]
    original = model == "a3c-lstm"
    defaults = {
        "frame_skip": FRAME_SKIP if own_skip == 1 else None,
        "frame_stack": 1 if original else 4,
        "frame_size": 80 if original else 84,
        "crop": original,
        "reward_clip": 1.0 if env.protocol == "classic" else 0.0,
    }
    missing = {name: value for name, value in defaults.items() if getattr(env, name) is None}
    return config.replace(model=model, **missing)


def _resolve_other(config: Config) -> Config:
    env, model = config.env, config.learn.model
    for name in ATARI_FLAGS:
        if getattr(env, name) is not None:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} is a setting of Atari games, and {env.env} is none; leave it out")
    probe = GymEnvironment(env, seed=0)
    probe.close()
    config = config.replace(reward_clip=0.0 if env.reward_clip is None else env.reward_clip)
    algo, facts = config.learn.algo, FACTS[config.learn.algo]
    if facts.tabular and not probe.spec.num_states:
        raise UsageError(_no_states(config))
    if not facts.models:
        return config
    pictures = len(probe.spec.observation_shape) == 3
    if model is None:
        model = facts.models[0] if pictures else "mlp"
    if probe.spec.num_states:
        raise UsageError(f"--env {env.env} only numbers its states; --algo {algo} needs vectors or pictures")
    if pictures and model == "mlp":
        raise UsageError(_not_for_pictures(config))
    if not pictures and model != "mlp":
        raise UsageError(f"--model {model} takes pictures, and {env.env} shows none; take --model mlp")
    return config.replace(model=model)


def _no_states(config: Config) -> str:
    algo, networks = config.learn.algo, " or ".join(WITH_NETWORK)
    return f"--algo {algo} needs numbered states, and {config.env.env} has none; take --algo {networks}"


def _not_for_pictures(config: Config) -> str:
    models = " or ".join(m for m in FACTS[config.learn.algo].models if m != "mlp")
    return f"--model mlp takes vectors; for the pictures of {config.env.env} take --model {models}"
