"""Completing the settings that are left to the environment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec as Registration

from a3c.envs.atari_settings import FRAME_SKIP, AtariSettings
from a3c.envs.gym_env import probe, spec_of
from a3c.envs.registry import RENAMED, find, full_id, is_atari
from a3c.errors import A3CError, UsageError
from a3c.settings.algorithms import FACTS, VECTOR_MODELS, WITH_NETWORK, default_model
from a3c.settings.config import COMMAND_LINE, Config, build_config
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
    if (today := _todays(config.env.env)) != config.env.env:
        if isinstance(config.env.env, Typed):  # not of a preset
            words = "%s is called %s now, with the same default dynamics; taking that"
            _log.warning(words, config.env.env, today)
        config = config.replace(env=today)
    registration = find(config.env)
    return _resolve_atari(config, registration) if is_atari(registration) else _resolve_other(config)


def complete_flags(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the command line, with the environment's whole id, and with the algorithm that suits it
    where neither they, nor a preset or a run that they name, have one: q-learning for numbered states, and
    its optimizer where no preset shall bring that. Other mistakes are found when they are put together.

    Raises:
        UsageError: the environment's name could mean several.
    """
    if "env" in given:
        given = {**given, "env": full_id(given["env"])}
    a_run = given.get("load") and (given["load"] != "newest" or given.get("run_dir"))
    if "algo" in given or a_run or given.get("preset", "none") != "none":
        return given
    named = {name: given[name] for name in ("env", "env_kwargs") if name in given}
    try:
        env = build_config((COMMAND_LINE, named)).env
        env = replace(env, env=_todays(env.env))
        numbered = not is_atari(find(env)) and bool(spec_of(env).num_states)
    except A3CError:
        return given
    if not numbered:
        return given
    return {"algo": "q-learning", **({"optimizer": "sgd"} if "preset" in given else {}), **given}


def _todays(env_id: str) -> str:
    """The id under which Gymnasium has it now."""
    today = RENAMED.get(env_id)
    return today if today and env_id not in gymnasium.registry and today in gymnasium.registry else env_id


def _resolve_atari(config: Config, registration: Registration) -> Config:
    env, facts = config.env, FACTS[config.learn.algo]
    if facts.tabular:
        raise UsageError(_no_states(config))
    model = config.learn.model or next(iter(facts.models), None)
    if model in VECTOR_MODELS:
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
    shape = spec.observation_shape
    pictures = len(shape) == 3
    if spec.num_states:
        raise UsageError(f"--env {env.env} only numbers its states; --algo {algo} needs vectors or pictures")
    if pictures and model in VECTOR_MODELS:
        raise UsageError(_not_for_pictures(config))
    if not pictures and model not in (None, *VECTOR_MODELS):
        raise UsageError(f"--model {model} takes pictures, and {env.env} shows none; take --model mlp")
    model = model or default_model(algo, shape)
    if model is None:
        raise UsageError(f"--env {env.env}: no network of {algo} takes its observations, {list(shape)}")
    return config.replace(model=model)


def _no_states(config: Config) -> str:
    algo, networks = config.learn.algo, " or ".join(WITH_NETWORK)
    return f"--algo {algo} needs numbered states, and {config.env.env} has none; take --algo {networks}"


def _not_for_pictures(config: Config) -> str:
    hint = "leave --model out; a run of an earlier version that saw a vector there has to be trained anew"
    return f"--model {config.learn.model} takes vectors, and {config.env.env} shows pictures: {hint}"
