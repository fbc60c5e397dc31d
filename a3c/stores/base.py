"""The parameter store: the only door to the shared weights."""

from __future__ import annotations

from typing import Protocol

import torch

from a3c.parameters import Parameters
from a3c.types import Counters, Gradients, PushResult


class ParameterStore(Protocol):
    """Owns the weights, the optimizer's state and the counters of learning.

    Backends: `LocalStore` (one process), `SharedStore` (one host, shared memory, Hogwild). One contract
    test runs on all of them.
    """

    def pull(self, into: Parameters) -> int:
        """Copies the current weights into `into` and returns their version: the number of updates
        applied so far by anyone."""
        ...

    def push(self, gradients: Gradients, version: int) -> PushResult:
        """Applies one gradient: clips it, refuses it when non-finite or too stale, and counts.

        Args:
            gradients: by parameter name; every name or, for `Rows`, the touched tables.
            version: what `pull` returned before the rollout.
        """
        ...

    def count_steps(self, env_steps: int, frames: int, episodes: int) -> None:
        """Adds a rollout's experience to the counters, also when nothing was pushed."""
        ...

    def counters(self) -> Counters:
        """How far the run is, over all writers and resumes."""
        ...

    def snapshot(self) -> dict[str, dict[str, torch.Tensor]]:
        """A private copy: {"model": by name, "optimizer": by name}; for Hogwild, taken while others write."""
        ...

    def restore(self, snapshot: dict[str, dict[str, torch.Tensor]], counters: Counters) -> None:
        """Takes a snapshot back. Raises ValueError when names or shapes differ."""
        ...

    def close(self) -> None:
        """Frees what the backend holds."""
        ...
