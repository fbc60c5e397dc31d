"""What an agent is: the one interface behind which all algorithms are worker types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from a3c.settings.config import Config
from a3c.stores.parameters import Parameters
from a3c.types import ActorOutput, Counters, EnvSpec, Gradients, Rollout, State


class Actor(Protocol):
    """Something that acts."""

    parameters: Parameters
    """Its own copy of the weights; whoever owns the policy pulls new ones into it, then calls `refresh`."""

    def refresh(self) -> None:
        """Takes new values of `parameters` into use."""
        ...

    def initial_state(self, batch: int) -> State:
        """Recurrent state before the first observation of `batch` episodes."""
        ...

    def act(self, observation: np.ndarray, first: np.ndarray, state: State) -> ActorOutput:
        """Chooses one action per environment.

        Args:
            observation: [B, ...] as the environment gives it.
            first: [B] bool; the state is reset there before the observation is seen.
            state: what the last call returned, or `initial_state(B)`.
        """
        ...


class Policy(Actor, Protocol):
    """An actor that says what it would do: what an evaluator and a player need."""

    def probabilities(
        self, observation: np.ndarray, first: np.ndarray, state: State
    ) -> tuple[np.ndarray, State]:
        """[B, A] float64 probabilities of the actions, from which `act` would draw, and the state after the
        observation; the arguments are those of `act`."""
        ...


class Seat(Protocol):
    """Chooses the actions of some of a worker's environments, and keeps their recurrent state."""

    size: int
    """How many they are."""

    @property
    def state(self) -> State:
        """Before the next observation; it stays as it is."""
        ...

    def ask(self, observation: np.ndarray, first: np.ndarray) -> None:
        """Begins to choose an action for each; takes the arguments of `Actor.act`, which must stay as they
        are until the `answer`."""
        ...

    def answer(self) -> ActorOutput:
        """What was asked for, waited for where it is still being computed; holds until the next `ask`."""
        ...


class Lone:
    """The seat of an actor that answers at once, for all environments of its worker."""

    def __init__(self, actor: Actor, size: int) -> None:
        self.size = size
        self._actor = actor
        self._output = ActorOutput(np.zeros(size, np.int64), actor.initial_state(size))

    @property
    def state(self) -> State:
        return tuple(part.detach() for part in self._output.state)

    def ask(self, observation: np.ndarray, first: np.ndarray) -> None:
        self._output = self._actor.act(observation, first, self._output.state)

    def answer(self) -> ActorOutput:
        return self._output


Lesson = Callable[[], tuple[Gradients | None, dict[str, float]]]
"""Computes one gradient with the weights as they are when it is called, and metrics; None when there is
nothing to apply yet."""


class Agent(Actor, Protocol):
    """An actor that also learns from its own rollouts."""

    fresh: bool
    """Whether also the first lesson of a rollout wants the newest weights, not those that acted."""

    @property
    def pace(self) -> float:
        """What the learning rate of its next gradient is to be multiplied by."""
        ...

    def begin_rollout(self, counters: Counters) -> None:
        """Called after new weights were taken into use and before the first `act` of a rollout; schedules
        (epsilon, entropy) follow the global counters."""
        ...

    def seats(self, spec: EnvSpec, size: int) -> Sequence[Seat]:
        """Who acts for the `size` environments of its worker, in their order: one for all, or several whose
        environments take their steps in turns, where acting goes on while others step."""
        ...

    def lessons(self, rollout: Rollout) -> Sequence[Lesson]:
        """What is to be learned now that a rollout has been made: one lesson for A3C, many for an algorithm
        of many small updates. The worker applies each gradient and takes new weights into use before the
        next lesson, and before the first one too when the agent is `fresh`."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Private state worth keeping over a resume (RNG, target network), as plain data and tensors."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` gave."""
        ...


class ActsAtOnce:
    """An agent, or the part of it, that has one seat for all and learns at the set rate."""

    pace = 1.0

    def seats(self: Actor, spec: EnvSpec, size: int) -> Sequence[Seat]:
        return [Lone(self, size)]


def check_nothing(config: Config, spec: EnvSpec) -> None:
    """What most algorithms have to check before a start."""


@dataclass(frozen=True)
class Algorithm:
    """What the rest of the program knows of an algorithm. What the flags know of it is in
    `a3c.settings.algorithms`, under the same name."""

    name: str
    metric_names: tuple[str, ...]
    """What each of its lessons reports, always in full."""

    make_policy: Callable[[Config, EnvSpec, int, str, bool], Policy]
    """(config, spec, seed, device, greedy) to what plays: the same network without the learning. Raises
    ValueError when the network does not fit the environment."""

    make_agent: Callable[[Config, EnvSpec, int, str, float], Agent]
    """(config, spec, seed, device, place) to the agent of a worker that learns. Its place among all workers
    is its number; on further nodes of a cluster it lies between two numbers. Raises ValueError too."""

    check: Callable[[Config, EnvSpec], None] = check_nothing
    """Makes sure, before anything starts, that there is what it needs. Raises UsageError."""
