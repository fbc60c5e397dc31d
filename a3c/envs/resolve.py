"""Completing the settings that are left to the environment."""

from __future__ import annotations

import logging

import gymnasium
from gymnasium.envs.registration import EnvSpec as Registration

from a3c.envs.atari_settings import FRAME_SKIP, AtariSettings
from a3c.envs.gym_env import probe
from a3c.envs.registry import RENAMED, find, is_atari
from a3c.errors import UsageError
from a3c.settings.algorithms import FACTS, WITH_NETWORK
from a3c.settings.config import Config
from a3c.settings.values import Typed

ATARI_FLAGS = ("frame_skip", "frame_stack", "frame_size", "crop")

_log = logging.getLogger(__name__)


def resolve_env(config: Config) -> Config:
    """Fills in every setting that was left to the environment, and the model.

    What remains None is the environment's own: `max_episode_steps`, `frame_skip` of an id that skips
    frames itself, and the Atari settings of anything else.

    Raises:
        UsageError: no such environment, it cannot be made, or something does not go with it.
    """
    old, today = config.env.env, RENAMED.get(config.env.env)
    if today and old not in gymnasium.registry and today in gymnasium.registry:
        if isinstance(old, Typed):  # not of a preset
            _log.warning("%s is called %s now, with the same default dynamics; taking that", old, today)
        config = config.replace(env=today)
    registration = find(config.env)
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
    spec = probe(env)
    config = config.replace(reward_clip=0.0 if env.reward_clip is None else env.reward_clip)
    algo, facts = config.learn.algo, FACTS[config.learn.algo]
    if facts.tabular and not spec.num_states:
        raise UsageError(_no_states(config))
    if not facts.models:
        return config
    pictures = len(spec.observation_shape) == 3
    if model is None:
        model = facts.models[0] if pictures else "mlp"
    if spec.num_states:
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
