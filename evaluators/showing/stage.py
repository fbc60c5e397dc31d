"""A game on a display: its picture, its pace, and the buttons that are pressed meanwhile."""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np

from a3c.envs import Environment, make_environment
from a3c.errors import UsageError
from a3c.settings.groups import EnvConfig
from evaluators.showing.buttons import QUIT
from evaluators.showing.film import picture_rate

BOARD_RATE = 4.0
"""Steps per second at which an agent plays a board game."""

_REDRAW_S = 0.5  # while a game waits: the terminal's size may have changed


class Display(Protocol):
    """A screen with a keyboard."""

    def show(self, status: str, game: str | np.ndarray, keys: str) -> None:
        """Shows a line above the game, the game in letters or as a picture [H, W, 3] uint8, and below it a
        line on the keys."""
        ...

    def next_button(self, timeout_s: float | None) -> str:
        """The next button that is pressed, or empty when none is in time; None waits for ever."""
        ...

    def held(self) -> set[str]:
        """The buttons that are held down."""
        ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *exception: Any) -> None: ...


class Left(Exception):
    """The player has quit."""


def open_game(config: EnvConfig, seed: int, text: bool) -> Environment:
    """An environment to look at.

    Args:
        config: which.
        seed: of its games.
        text: take letters where the game has them.

    Raises:
        UsageError: it cannot be made or cannot be drawn.
    """
    if text:
        try:
            return make_environment(config, seed, render_mode="ansi")
        except UsageError:
            pass  # then pictures, and if it is something else, the same again
    return make_environment(config, seed, render_mode="rgb_array")


class Stage:
    """Shows the games of one environment.

    Args:
        env: from `open_game`.
        display: where.
        keys: what they do, in words.
        fps: steps per second where the game does not wait for buttons; None: what suits the game.
    """

    def __init__(self, env: Environment, display: Display, keys: str, fps: float | None) -> None:
        self._env, self._display, self._keys = env, display, keys
        self._pause_s = 1 / fps if fps else 0.0
        self._due = time.monotonic()
        self._shown: tuple[str, str | np.ndarray, str] = "", "", keys

    def show(self, game: int, score: float, step: int, over: bool = False) -> None:
        """The game as it is now; `game` and `step` count from 1. Raises UsageError when it draws nothing."""
        env = self._env
        letters = env.text()
        self._pause_s = self._pause_s or 1 / (BOARD_RATE if letters else picture_rate(env.spec))
        parts = [env.spec.env_id, f"game {game}", f"score {score:g}", f"step {step}", env.details()]
        keys = "game over: press a key, q quits" if over else self._keys
        self._shown = "   ".join(filter(None, parts)), letters or env.render(), keys
        self._display.show(*self._shown)

    def wait_for_button(self) -> set[str]:
        """The next button."""
        while not (button := self._next(_REDRAW_S)):
            self._display.show(*self._shown)
        return {button}

    def wait_for_time(self, least_s: float = 0.0) -> set[str]:
        """Waits until the next step is due, at the least so long; returns the buttons that are held then."""
        self._due = max(self._due + max(self._pause_s, least_s), time.monotonic())
        while (left := self._due - time.monotonic()) > 0:
            self._next(left)
        self._next(0)
        return self._display.held()

    def wait_for_player(self) -> None:
        """Waits for any button."""
        self.wait_for_time(0.5)  # so that keys still pressed do not skip it
        self.wait_for_button()

    def _next(self, timeout_s: float | None) -> str:
        button = self._display.next_button(timeout_s)
        if button == QUIT:
            raise Left
        return button
