"""The transition table that Gymnasium's toy-text environments publish, as arrays.

Dimensions: S states, A actions, K the most outcomes one state and action can have.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np

from a3c.errors import UsageError


class Transitions(NamedTuple):
    """What may follow each state and action; outcomes that there are not have probability 0."""

    probabilities: np.ndarray  # [S, A, K] float64
    successors: np.ndarray  # [S, A, K] int64
    rewards: np.ndarray  # [S, A, K] float64
    terminal: np.ndarray  # [S, A, K] bool
    start: np.ndarray  # [S] float64, distribution of the first state


def read_transitions(env: gymnasium.Env[Any, Any]) -> Transitions:
    """Reads `env.unwrapped.P`; the environment's own settings (slippery, rainy, map) are in it.

    Raises:
        UsageError: the environment has no transition table, or one that is not all of its dynamics.
    """
    raw: Any = env.unwrapped
    name = env.spec.id if env.spec else type(raw).__name__
    if not hasattr(raw, "P") or not hasattr(raw, "initial_state_distrib"):
        raise UsageError(f"{name} has no transition table, so no exact value; score it by playing")
    if getattr(raw, "fickle_passenger", False):
        raise UsageError(f"{name}: a fickle passenger is not in the transition table; score it by playing")
    start = np.asarray(raw.initial_state_distrib, dtype=np.float64)
    return Transitions(*_read_table(raw.P, name), start)


def _read_table(table: Any, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    outcomes = [[table[s][a] for a in range(len(table[0]))] for s in range(len(table))]
    shape = (len(outcomes), len(outcomes[0]), max(len(cell) for row in outcomes for cell in row))
    probabilities, rewards = np.zeros((2, *shape))
    successors, terminal = np.zeros(shape, np.int64), np.zeros(shape, bool)
    for s, row in enumerate(outcomes):
        for a, cell in enumerate(row):
            total = sum(probability for probability, *_ in cell)
            if abs(total - 1.0) > 1e-6:
                raise UsageError(f"{name}: outcomes of state {s}, action {a} add up to {total:g}, not 1")
            for k, outcome in enumerate(cell):
                at = s, a, k
                probabilities[at], successors[at], rewards[at], terminal[at] = outcome
    return probabilities, successors, rewards, terminal
