"""Playing whole games with a policy, as one batch that shrinks as games end.

A score is the unclipped return of one game over all its lives. Each seed plays exactly one game, so short
games are not counted more often than long ones.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from a3c.agents.base import Policy
from a3c.envs import EnvBatch
from a3c.types import EpisodeStats

AT_ONCE = 100
"""Games played in one batch; more are no faster and only take memory."""

STEP_LIMIT = 108_000
"""Steps after which a game is cut whatever the environment: no evaluation goes on for ever."""


class Played(NamedTuple):
    """What is going on after one step of the batch."""

    envs: EnvBatch  # the games that took the step, ended ones included
    games: np.ndarray  # [B] int64: which game each row of `envs` is
    over: np.ndarray  # [B] bool: which ended with this step
    scores: np.ndarray  # [B] float64: unclipped returns so far


@dataclass(frozen=True)
class Games:
    """One finished game for each seed."""

    seeds: tuple[int, ...]
    episodes: tuple[EpisodeStats, ...]  # in the order of the seeds
    actions: tuple[int, ...]  # how often each action was taken

    @property
    def scores(self) -> list[float]:
        """Unclipped returns, in the order of the seeds."""
        return [e.episode_return for e in self.episodes]

    @property
    def lengths(self) -> list[int]:
        """Steps, in the order of the seeds."""
        return [e.length for e in self.episodes]

    @property
    def truncated(self) -> int:
        """How many games were cut by a limit."""
        return sum(e.truncated for e in self.episodes)

    @property
    def action_share(self) -> float:
        """Share of the action taken most often; near 1, the policy hardly looks at the screen."""
        return max(self.actions) / max(sum(self.actions), 1)

    def __add__(self, other: Games) -> Games:
        """These games and others of the same environment."""
        actions = tuple(a + b for a, b in zip(self.actions, other.actions, strict=True))
        return Games(self.seeds + other.seeds, self.episodes + other.episodes, actions)


def play(
    policy: Policy, envs: EnvBatch, seeds: tuple[int, ...], step_limit: int = STEP_LIMIT
) -> Generator[Played, None, Games]:
    """Plays one game in each environment; yields after every step of the batch, finally returns the games.

    A network rounds a little differently in batches of other sizes; that a draw lies so close to the bound
    between two actions that this matters is rare (never in 6,300 steps of Breakout in bfloat16).

    The caller decides between two steps what else is to be done, and may stop asking: games take hours
    at worst. Environments whose game is over are left out of the batch.

    Args:
        policy: its recurrent state starts afresh; its weights must not change meanwhile.
        envs: fresh ones, made for `seeds`.
        seeds: one per environment; its actions are drawn from a generator of its own, so that a game is the
            same whatever is played beside it.
        step_limit: steps after which a game is cut, and reported as truncated.
    """
    games = np.arange(envs.size)
    running = np.zeros(envs.size)
    taken = np.zeros(envs.spec.num_actions, np.int64)
    episodes: dict[int, EpisodeStats] = {}
    generators = [np.random.Generator(np.random.PCG64(_of_actions(seed))) for seed in seeds]
    now, state = envs.reset(), policy.initial_state(envs.size)
    observation, first = now.observation, now.first
    for step in range(1, step_limit + 1):
        probabilities, state = policy.probabilities(observation, first, state)
        actions = drawn(probabilities, np.array([generator.random() for generator in generators]))
        taken += np.bincount(actions, minlength=len(taken))
        now = envs.step(actions)
        running[games] += now.reward
        over = now.last.copy()
        episodes |= zip(games[over].tolist(), envs.pop_episodes(), strict=True)
        if step == step_limit:
            cut = games[~over].tolist()
            episodes |= {g: _cut(running[g], step, envs) for g in cut}
        yield Played(envs, games, over, running[games])
        going = np.flatnonzero(~over)
        if not len(going):
            break
        observation, first = now.observation, now.first
        if len(going) < len(over):
            envs, games = envs.select(going), games[going]
            generators = [generators[i] for i in going]
            observation, first = observation[going], first[going]
            state = tuple(s[torch.from_numpy(going).to(s.device)] for s in state)
    return Games(seeds, tuple(episodes[g] for g in sorted(episodes)), tuple(taken.tolist()))


def _of_actions(seed: int) -> np.random.SeedSequence:
    """Where the chance in a game's actions comes from: not the numbers that its environment draws."""
    return np.random.SeedSequence(seed, spawn_key=(1,))


def drawn(probabilities: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """[B] int64: one action of each row of probabilities [B, A], by inversion of their sums; chance [B] is
    uniform in [0, 1)."""
    bounds = probabilities.cumsum(axis=1)
    actions = (bounds <= chance[:, None] * bounds[:, -1:]).sum(axis=1)
    return np.asarray(np.minimum(actions, probabilities.shape[1] - 1))


def _cut(score: float, steps: int, envs: EnvBatch) -> EpisodeStats:
    """A game cut by the evaluator: its frames can only be reckoned, from the mean frame skip."""
    low, high = envs.spec.frame_skip
    return EpisodeStats(float(score), steps, round(steps * (low + high) / 2), truncated=True)


def play_seeds(
    policy: Policy,
    make: Callable[[tuple[int, ...]], EnvBatch],
    seeds: tuple[int, ...],
    at_once: int = AT_ONCE,
) -> Generator[Played, None, Games]:
    """`play` for any number of seeds, some at a time; makes the environments for them, and closes them."""
    games = Games((), (), ())
    for start in range(0, len(seeds), at_once):
        part = seeds[start : start + at_once]
        envs = make(part)
        try:
            played = yield from play(policy, envs, part)
        finally:
            envs.close()
        games = games + played if start else played
    return games


class Playthrough:
    """Games in progress, to go through with a plain `for`; their result, `games`, is there afterwards."""

    games: Games

    def __init__(self, steps: Generator[Played, None, Games]) -> None:
        self._steps = steps

    def __iter__(self) -> Iterator[Played]:
        self.games = yield from self._steps


def finish(steps: Generator[Played, None, Games]) -> Games:
    """Plays to the end."""
    games = Playthrough(steps)
    for _ in games:
        pass
    return games.games
