"""How the actions of agents, numbers from 0, become those of a Gymnasium space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete, MultiBinary, MultiDiscrete

MOST_COMBINATIONS = 1000
"""Of several actions at once: each combination becomes an action of its own, and an output of the network."""


class Actions(NamedTuple):
    """The actions of a space."""

    number: int
    of_space: Callable[[int], Any]
    """The space's own form of an action, 0 to number - 1."""


def actions_of(space: gymnasium.Space[Any] | None) -> Actions:
    """Discrete actions from wherever they start; of MultiDiscrete and MultiBinary every combination, the last
    number changing fastest. Raises ValueError for other spaces, and for too many combinations."""
    if isinstance(space, Discrete):
        start = int(space.start)
        return Actions(int(space.n), lambda action: start + action)
    if isinstance(space, MultiDiscrete):
        return _combinations(space.nvec, space.start, space.dtype)
    if isinstance(space, MultiBinary):
        return _combinations(np.full(space.shape, 2), 0, space.dtype)
    raise ValueError("not discrete")


def _combinations(sizes: np.ndarray, start: Any, dtype: Any) -> Actions:
    count = int(np.prod(sizes.astype(object)))  # of any size, as Python counts
    if count > MOST_COMBINATIONS:
        raise ValueError(f"{count} combinations")
    flat = tuple(sizes.ravel().tolist())

    def of_space(action: int) -> np.ndarray:
        numbers = np.array(np.unravel_index(action, flat)).reshape(sizes.shape)
        return np.asarray(start + numbers, dtype)

    return Actions(count, of_space)
