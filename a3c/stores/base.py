"""The parameter store: the only access to the shared weights."""

from __future__ import annotations

from typing import Protocol

import torch

from a3c.stores.parameters import Parameters
from a3c.types import Counters, Gradients, PushResult


class ParameterStore(Protocol):
    """Owns the weights and the optimizer's state, and counts the updates.

    One contract test runs on every backend.
    """

    def pull(self, into: Parameters) -> int:
        """Copies the current weights into `into` and returns their version: the number of updates
        applied so far by anyone, over all resumes."""
        ...

    def push(self, gradients: Gradients, version: int, pace: float = 1.0) -> PushResult:
        """Applies one gradient: clips it to the global norm, refuses it when non-finite or too stale,
        and counts.

        Args:
            gradients: by parameter name; every name or, for `Rows`, the touched tables.
            version: what `pull` returned before the rollout.
            pace: what the learning rate is multiplied by.
        """
        ...

    def learning_rate(self) -> float:
        """The rate of the next update."""
        ...

    def counters(self) -> Counters:
        """How far the run is, over all writers and resumes."""
        ...

    def snapshot(self) -> dict[str, dict[str, torch.Tensor]]:
        """A private copy: {"model": by name, "optimizer": by "state.name"}; under Hogwild, taken while
        others write."""
        ...
