"""A batch of environments behind one `step`, each with its own running episode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from a3c.types import EnvSpec, EpisodeStats, TimeStep


class Transition(NamedTuple):
    """What one step of one environment led to, apart from the observation."""

    reward: float  # raw
    discount: float  # 0 at a terminal transition (game over, or a lost life while learning), else 1
    last: bool  # the episode is over
    truncated: bool  # ... because of a time limit


class Environment(Protocol):
    """One environment: what a batch is made of."""

    spec: EnvSpec
    seed: int
    observation: np.ndarray
    """[...] as `spec` says, after the last reset or step; overwritten by the next."""

    @property
    def frames(self) -> int:
        """Emulator frames since it was made."""
        ...

    @property
    def episode_frames(self) -> int:
        """Emulator frames of the running episode."""
        ...

    def reset(self) -> float:
        """Begins an episode; returns the reward of what was played before the first decision."""
        ...

    def step(self, action: int) -> Transition: ...

    def render(self) -> np.ndarray:
        """The picture a person would see, [H, W, 3] uint8."""
        ...

    def text(self) -> str:
        """The same in letters, with the colours of a terminal; empty where there is no such thing."""
        ...

    def details(self) -> str:
        """What a player wants to know beside the score; often nothing."""
        ...

    def close(self) -> None: ...


class EnvBatch(Protocol):
    """B environments stepped together; what everybody outside this package uses."""

    spec: EnvSpec
    size: int

    @property
    def frames(self) -> int:
        """Emulator frames so far, of all its environments; only grows."""
        ...

    def reset(self) -> TimeStep:
        """Begins a new episode everywhere; running ones are dropped."""
        ...

    def step(self, actions: np.ndarray) -> TimeStep:
        """Takes one action per environment ([B] int64), or begins an episode where one was over.

        Raises:
            RuntimeError: an environment failed; says which, its seed and its step.
        """
        ...

    def show_in(self, observations: np.ndarray) -> None:
        """Offers an array [B, ...] for the observations of the next step, which are otherwise in one of its
        own."""
        ...

    def select(self, indices: Iterable[int]) -> EnvBatch:
        """The same live environments, only those, in this order. Step either batch, not both."""
        ...

    def pop_episodes(self) -> list[EpisodeStats]:
        """Episodes finished since the last call, in the order of their environments."""
        ...

    def render(self, index: int) -> np.ndarray:
        """The picture a person would see of one environment, [H, W, 3] uint8."""
        ...

    def close(self) -> None:
        """Releases the environments."""
        ...


@dataclass
class Lane:
    """One environment and its running episode; what fails in it says where."""

    env: Environment
    index: int
    over: bool = True  # the next step begins an episode
    episode_return: float = 0.0
    length: int = 0
    steps: int = 0  # over all episodes
    finished: list[EpisodeStats] = field(default_factory=list)

    def begin(self) -> None:
        """Resets the environment. Raises RuntimeError."""
        try:
            self.episode_return = self.env.reset()
        except Exception as error:
            raise self._failure("reset", error) from error
        self.length = 0
        self.over = False

    def advance(self, action: int) -> Transition:
        """A step, cut at the environment's limit of steps. Raises RuntimeError."""
        self.steps += 1
        self.length += 1
        try:
            transition = self.env.step(action)
        except Exception as error:
            raise self._failure("step", error) from error
        if self.length == self.env.spec.step_cap and not transition.last:
            transition = transition._replace(last=True, truncated=True)
        self.episode_return += transition.reward
        if transition.last:
            self.over = True
            self.finished.append(
                EpisodeStats(self.episode_return, self.length, self.env.episode_frames, transition.truncated)
            )
        return transition

    def _failure(self, call: str, error: Exception) -> RuntimeError:
        return RuntimeError(
            f"{self.env.spec.env_id}: {call} failed in environment {self.index} "
            f"(seed {self.env.seed}, step {self.steps}): {type(error).__name__}: {error}"
        )


class Batch:
    """An `EnvBatch` over any environments of one kind."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes
        self.spec = lanes[0].env.spec
        self.size = len(lanes)
        shape = (self.size, *self.spec.observation_shape)
        self._time_step = TimeStep(
            observation=np.zeros(shape, self.spec.observation_dtype),
            reward=np.zeros(self.size, np.float32),
            discount=np.ones(self.size, np.float32),
            first=np.zeros(self.size, bool),
            last=np.zeros(self.size, bool),
        )

    @classmethod
    def of(cls, environments: Iterable[Environment]) -> Batch:
        """Each environment becomes a row of the batch."""
        return cls([Lane(env, index) for index, env in enumerate(environments)])

    @property
    def frames(self) -> int:
        return sum(lane.env.frames for lane in self._lanes)

    def reset(self) -> TimeStep:
        for i in range(self.size):
            self._begin(i)
        return self._time_step

    def step(self, actions: np.ndarray) -> TimeStep:
        for i, action in enumerate(actions.tolist()):
            if self._lanes[i].over:
                self._begin(i)
            else:
                self._advance(i, action)
        return self._time_step

    def _begin(self, i: int) -> None:
        lane = self._lanes[i]
        lane.begin()
        self._write(i, lane, Transition(0.0, 1.0, False, False), first=True)

    def _advance(self, i: int, action: int) -> None:
        lane = self._lanes[i]
        self._write(i, lane, lane.advance(action), first=False)

    def _write(self, i: int, lane: Lane, transition: Transition, first: bool) -> None:
        observation, reward, discount, firsts, last = self._time_step
        observation[i] = lane.env.observation
        reward[i] = transition.reward
        discount[i] = transition.discount
        firsts[i] = first
        last[i] = transition.last

    def show_in(self, observations: np.ndarray) -> None:
        self._time_step = self._time_step._replace(observation=observations)

    def select(self, indices: Iterable[int]) -> Batch:
        return Batch([self._lanes[i] for i in indices])

    def pop_episodes(self) -> list[EpisodeStats]:
        episodes = [episode for lane in self._lanes for episode in lane.finished]
        for lane in self._lanes:
            lane.finished.clear()
        return episodes

    def render(self, index: int) -> np.ndarray:
        return self._lanes[index].env.render()

    def close(self) -> None:
        for lane in self._lanes:
            lane.env.close()
