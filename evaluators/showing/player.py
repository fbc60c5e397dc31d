"""Games that a person plays by the buttons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from a3c.envs import Environment
from evaluators.showing.buttons import KeyMap, keymap
from evaluators.showing.stage import Display, Left, Stage


def play_games(env: Environment, display: Display, games: int | None, fps: float | None) -> list[float]:
    """Plays until the player leaves, or so many games; returns the scores of those that were finished.

    Args:
        fps: steps per second where the game does not wait for buttons; None: what suits the game.
    """
    scores: list[float] = []
    keys = keymap(env.spec)
    stage = Stage(env, display, f"{keys.help}, q quits", fps)
    try:
        while games is None or len(scores) < games:
            scores.append(_play_game(env, stage, keys, len(scores) + 1))
            stage.wait_for_player()
    except Left:
        pass
    return scores


def _play_game(env: Environment, stage: Stage, keys: KeyMap, number: int) -> float:
    """To its end; returns the score."""
    score, step, over = env.reset(), 0, False
    while not over:
        stage.show(number, score, step)
        transition = env.step(_decide(stage, keys))
        score, step = score + transition.reward, step + 1
        over = transition.last or step == env.spec.step_cap
    stage.show(number, score, step, over)
    return score


def _decide(stage: Stage, keys: KeyMap) -> int:
    """The player's action, once the buttons mean one in this game."""
    while True:
        action = keys.action(stage.wait_for_button() if keys.waits else stage.wait_for_time())
        if action is not None:
            return action


def summary(env_id: str, scores: Sequence[float]) -> str:
    """One line about the games that were played to their end."""
    if not scores:
        return f"{env_id}: no game was finished"
    shown = " ".join(f"{score:g}" for score in scores)
    mean = f", mean {np.mean(scores):.4g}" if len(scores) > 1 else ""
    return f"{env_id}: {len(scores)} game{'s' * (len(scores) > 1)}, score {shown}{mean}"
