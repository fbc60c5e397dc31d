"""Scores to compare with: of chance, of people, of the published A3C, and the best there can be."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from a3c.envs.gym_env import make_gymnasium
from a3c.envs.levels import LEVELS_ID
from a3c.envs.registry import RENAMED
from a3c.errors import A3CError
from a3c.settings.groups import EnvConfig
from evaluators.games.atari_scores import atari_scores, game_of
from evaluators.games.exact import optimal_value, policy_value, transition_model


class Reference(NamedTuple):
    """A score that somebody else reached."""

    name: str
    score: float


_A3C_LSTM = {
    "Asteroids": 5093.0, "BeamRider": 24622.0, "Breakout": 766.8, "Enduro": -82.0, "MsPacman": 851.0,
    "Pong": 10.7, "Qbert": 21308.0, "Seaquest": 1326.0, "SpaceInvaders": 23846.0,
}  # fmt: skip
"""A3C-LSTM after 4 days, human starts: Mnih et al. 2016, "Asynchronous methods for deep reinforcement
learning". Those of chance and people are from no-op starts, so these are marks to look at, not to the
decimal."""

_BEST = {"Pong": 21.0, "Breakout": 864.0, "CartPole-v0": 200.0, "CartPole-v1": 500.0}
"""The highest score the rules allow."""

_LONGEST_KWARGS = 2000  # characters

_SOLVED = {"LunarLander-v2": 200.0, "LunarLander-v3": 200.0}
"""Where the makers of an environment call it solved."""


def references(config: EnvConfig) -> list[Reference]:
    """What is known about an environment; often nothing."""
    game, found = game_of(config.env), list[Reference]()
    if game in atari_scores():
        found += [Reference(*pair) for pair in atari_scores()[game]._asdict().items()]
    if game in _A3C_LSTM:
        found.append(Reference("A3C-LSTM paper", _A3C_LSTM[game]))
    for name in (game, config.env):
        if name in _BEST:
            found.append(Reference("best possible", _BEST[name]))
        if name in _SOLVED:
            found.append(Reference("solved", _SOLVED[name]))
    return found or _computed(config)


def _computed(config: EnvConfig) -> list[Reference]:
    """Exactly, where an environment publishes its dynamics."""
    if len(repr(config.env_kwargs)) > _LONGEST_KWARGS:
        return []  # a table as large as whoever wrote the run's files likes
    if config.env == LEVELS_ID and "board" not in config.env_kwargs:
        return []  # every episode has other dynamics
    try:
        name = RENAMED.get(config.env, config.env)
        model = transition_model(make_gymnasium(replace(config, env=name)))
    except A3CError:
        return []  # no table, or no such environment here
    states, actions = model.rewards.shape
    chance = policy_value(model, np.full((states, actions), 1 / actions)) if model.horizon else None
    best = Reference("best possible", optimal_value(model))
    return [best] if chance is None else [Reference("random", chance), best]
