"""Toy-text environments stepped from their transition table, all of a batch at once.

A step of 64 frozen lakes takes some 20 us this way; one by one, through Gymnasium, 60 times as long. The
episodes are the same to the last state: each environment draws one random number per step and per reset
from the generator that Gymnasium would give it, and uses it as Gymnasium would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec as Registration
from gymnasium.utils.seeding import np_random

from a3c.envs.gym_env import describe, make_gymnasium
from a3c.envs.pictures import picture
from a3c.envs.transitions import Transitions, read_transitions
from a3c.settings.groups import EnvConfig
from a3c.types import EnvSpec, EpisodeStats, TimeStep

_DRAWN = 512
"""Random numbers that are drawn at a time for each environment."""


class TableBatch:
    """An `EnvBatch` over a transition table.

    Args:
        spec: what the environment is.
        table: its dynamics.
        seeds: one per environment.
        painter: draws it.
    """

    def __init__(self, spec: EnvSpec, table: Transitions, seeds: Sequence[int], painter: Painter) -> None:
        self.spec, self.size = spec, len(seeds)
        self._painter = painter
        self._outcomes = table.probabilities.shape[2]  # K
        self._bounds = _upper_bounds(table.probabilities).reshape(-1, self._outcomes)  # [S*A, K]
        self._start = _upper_bounds(table.start)  # [S]
        self._successors, self._rewards = table.successors.ravel(), table.rewards.ravel()  # [S*A*K]
        self._terminal = table.terminal.ravel()
        self._generators = [np_random(seed)[0] for seed in seeds]
        self._numbers, self._used = np.zeros((0, self.size)), 0
        self._state, self._length, self._frames = np.zeros((3, self.size), np.int64)
        self._return = np.zeros(self.size)
        self._last = np.zeros(self.size, bool)
        self._finished: list[EpisodeStats] = []

    @classmethod
    def of(cls, config: EnvConfig, seeds: Sequence[int]) -> TableBatch:
        """Raises UsageError when the environment cannot be made like this or has no transition table."""
        env = make_gymnasium(config)
        try:
            return cls(describe(env, config.env), read_transitions(env), seeds, Painter(config))
        finally:
            env.close()

    @property
    def frames(self) -> int:
        return int(self._frames.sum())

    def reset(self) -> TimeStep:
        self._last = np.ones(self.size, bool)
        return self.step(np.zeros(self.size, np.int64))

    def step(self, actions: np.ndarray) -> TimeStep:
        chance, first = self._draw(), self._last
        outcome = (self._state * self.spec.num_actions + actions) * self._outcomes
        if self._outcomes > 1:
            outcome += (self._bounds[outcome // self._outcomes] <= chance[:, None]).sum(axis=1)
        state, reward, terminal = self._successors[outcome], self._rewards[outcome], self._terminal[outcome]
        self._length += 1
        if first.any():  # no step but a new episode, whatever the action
            state[first] = self._start.searchsorted(chance[first], side="right")
            reward[first], terminal[first] = 0.0, False
            self._length[first], self._return[first] = 0, 0.0
        self._frames += ~first
        self._return += reward
        last = terminal | (self._length == self.spec.step_cap) & ~first
        if last.any():
            self._finish(last, terminal)
        self._state, self._last = state, last
        return TimeStep(state, reward.astype(np.float32), (~terminal).astype(np.float32), first, last)

    def show_in(self, observations: np.ndarray) -> None:
        """Not taken: the states are there already."""

    def _draw(self) -> np.ndarray:
        """One number for each environment, [B] from 0 to 1."""
        if self._used == len(self._numbers):
            self._numbers = np.stack([g.random(_DRAWN) for g in self._generators], axis=1)
            self._used = 0
        self._used += 1
        return np.asarray(self._numbers[self._used - 1])

    def _finish(self, last: np.ndarray, terminal: np.ndarray) -> None:
        columns = (part[last].tolist() for part in (self._return, self._length, terminal))
        for episode_return, length, terminated in zip(*columns, strict=True):
            self._finished.append(EpisodeStats(episode_return, length, length, not terminated))

    def select(self, indices: Iterable[int]) -> TableBatch:
        chosen = list(indices)
        other = copy(self)  # what is common to all environments is shared
        other.size, other._finished = len(chosen), []
        other._generators = [self._generators[i] for i in chosen]
        other._numbers = self._numbers[:, chosen]
        other._state, other._last = self._state[chosen], self._last[chosen]
        other._length, other._return = self._length[chosen], self._return[chosen]
        other._frames = self._frames[chosen]
        return other

    def pop_episodes(self) -> list[EpisodeStats]:
        episodes, self._finished = self._finished, []
        return episodes

    def render(self, index: int) -> np.ndarray:
        return self._painter.paint(int(self._state[index]))

    def close(self) -> None:
        self._painter.close()


class Painter:
    """Draws states with Gymnasium's own environment, which is made when the first picture is wanted."""

    def __init__(self, config: EnvConfig) -> None:
        self._config = config
        self._env: gymnasium.Env[Any, Any] | None = None

    def paint(self, state: int) -> np.ndarray:
        """The picture of a state, [H, W, 3] uint8. Raises UsageError where there can be none."""
        if self._env is None:
            self._env = make_gymnasium(self._config, "rgb_array")
            self._env.reset()
        raw: Any = self._env.unwrapped
        raw.s = state
        return picture(self._env, self._config.env)

    def close(self) -> None:
        """Ends Gymnasium's environment; another picture makes a new one."""
        if self._env is not None:
            self._env.close()
            self._env = None


def has_table(registration: Registration, config: EnvConfig) -> bool:
    """Whether it is one of Gymnasium's own environments with a table that holds all of its dynamics."""
    tables = ("frozen_lake:FrozenLakeEnv", "taxi:TaxiEnv", "cliffwalking:CliffWalkingEnv")
    own = registration.entry_point in [f"gymnasium.envs.toy_text.{name}" for name in tables]
    return own and not {**registration.kwargs, **config.env_kwargs}.get("fickle_passenger")


def _upper_bounds(probabilities: np.ndarray) -> np.ndarray:
    """[..., K]: a number from 0 to 1 chooses the first outcome whose bound is above it."""
    bounds = np.cumsum(probabilities, axis=-1)
    bounds[..., -1] = np.inf  # whatever rounding made of 1
    return bounds
