"""What can be said of a table of action values beyond the scores of its games."""

from __future__ import annotations

from typing import Any

import numpy as np

from a3c.envs.gym_env import make_gymnasium
from a3c.errors import UsageError
from a3c.settings.algorithms import TABULAR
from a3c.settings.config import Config
from a3c.settings.groups import EnvConfig
from evaluators.games.exact import Judge, transition_model

_LEFT, _DOWN, _RIGHT, _UP = range(4)
_ARROWS = {
    (_LEFT,): "←", (_DOWN,): "↓", (_RIGHT,): "→", (_UP,): "↑",
    (_LEFT, _DOWN): "↙", (_DOWN, _RIGHT): "↘", (_RIGHT, _UP): "↗", (_LEFT, _UP): "↖",
    (_LEFT, _RIGHT): "↔", (_DOWN, _UP): "↕",
}  # fmt: skip
"""By the actions of FrozenLake that are equally good; a star stands for three or four of them."""


def find_judge(config: Config) -> Judge | None:
    """Who can score a run's table exactly: None without a table of states, without the environment's own
    transition table, or without a time limit, because then a policy may never end an episode."""
    if config.learn.algo not in TABULAR:
        return None
    env = make_gymnasium(config.env)
    try:
        model = transition_model(env)
    except UsageError:
        return None
    finally:
        env.close()
    return Judge(model) if model.horizon else None


def is_blank(q: np.ndarray) -> bool:
    """Whether nothing was learned: all cells of a table q [S, A] are equal, and acting on it is chance."""
    return bool((q == q.flat[0]).all())


def draw_policy(config: EnvConfig, q: np.ndarray) -> str:
    """A table q [S, A] as arrows on the map of a frozen lake; empty for other environments.

    H is a hole, G the goal; a diagonal arrow stands for two equally good actions.
    """
    env = make_gymnasium(config)
    env.close()
    raw: Any = env.unwrapped
    board = getattr(raw, "desc", None)
    if not type(raw).__module__.endswith(".frozen_lake") or board is None:
        return ""
    best = q == q.max(axis=1, keepdims=True)
    rows = [
        " ".join(
            cell.decode() if cell in b"GH" else _arrow(best[row * len(cells) + column])
            for column, cell in enumerate(cells)
        )
        for row, cells in enumerate(board)
    ]
    return "\n".join(rows)


def _arrow(best: np.ndarray) -> str:
    return _ARROWS.get(tuple(np.flatnonzero(best).tolist()), "*")
