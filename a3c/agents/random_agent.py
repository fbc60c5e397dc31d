"""The agent that learns nothing and takes any action: the baseline of every other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from a3c.agents.base import ActsAtOnce, Algorithm, Lesson
from a3c.settings.config import Config
from a3c.stores.parameters import Parameters
from a3c.types import ActorOutput, Counters, EnvSpec, Rollout, State


class RandomAgent(ActsAtOnce):
    """Takes every action with equal probability.

    Args:
        num_actions: A.
        seed: of its choices.
    """

    fresh = False

    def __init__(self, num_actions: int, seed: int) -> None:
        self.parameters = Parameters({})
        self._num_actions = num_actions
        self._rng = np.random.default_rng(seed)

    def refresh(self) -> None:
        """Nothing to do: there are no parameters."""

    def initial_state(self, batch: int) -> State:
        return ()

    def begin_rollout(self, counters: Counters) -> None:
        """Nothing to do."""

    def probabilities(
        self, observation: np.ndarray, first: np.ndarray, state: State
    ) -> tuple[np.ndarray, State]:
        return np.full((len(first), self._num_actions), 1 / self._num_actions), ()

    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        return ActorOutput(self._rng.integers(self._num_actions, size=len(first)), ())

    def lessons(self, rollout: Rollout) -> Sequence[Lesson]:
        return ()

    def get_state(self) -> dict[str, Any]:
        """The random generator."""
        return {"rng": self._rng.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]


def make_random(config: Config, spec: EnvSpec, seed: int, device: str, _: float) -> RandomAgent:
    """It plays as it trains."""
    return RandomAgent(spec.num_actions, seed)


RANDOM = Algorithm("random", (), make_random, make_random)
