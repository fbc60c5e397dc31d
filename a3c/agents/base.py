"""What an agent is: the one interface behind which all algorithms are worker types."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from a3c.parameters import Parameters
from a3c.types import ActorOutput, Counters, Gradients, Rollout, State


class Policy(Protocol):
    """Something that acts: what the evaluator and a player need."""

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


class Agent(Policy, Protocol):
    """A policy that also learns from its own rollouts."""

    metric_names: tuple[str, ...]
    """What `gradients` reports, always in full."""

    def begin_rollout(self, counters: Counters) -> None:
        """Called after new weights were taken into use and before the first `act` of a rollout; schedules
        (epsilon, entropy) follow the global counters."""
        ...

    def gradients(self, rollout: Rollout) -> tuple[Gradients | None, dict[str, float]]:
        """Gradient of the loss on a rollout, and metrics; None when there is nothing to apply yet."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Private state worth keeping over a resume (RNG, target network), as plain data and tensors."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` gave."""
        ...
