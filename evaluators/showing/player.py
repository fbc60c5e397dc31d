"""Games before a player's eyes: whoever plays, and wherever it is shown."""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np

from a3c.agents.base import Policy
from a3c.envs import Environment, make_environment
from a3c.errors import UsageError
from a3c.settings.groups import EnvConfig
from a3c.types import EnvSpec
from evaluators.showing.buttons import QUIT, keymap
from evaluators.showing.terminal import View
from evaluators.showing.watch import picture_rate

BOARD_RATE = 4.0
"""Steps per second at which an agent plays a board game."""

_REDRAW_S = 0.5  # while a game waits: the terminal's size may have changed


class Display(Protocol):
    """A screen with a keyboard."""

    def show(self, view: View) -> None: ...

    def next_button(self, timeout_s: float | None) -> str:
        """The next button that is pressed, or empty when none is in time."""
        ...

    def held(self) -> set[str]:
        """The buttons that are held down."""
        ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *exception: Any) -> None: ...


class Player(Protocol):
    """Who decides."""

    waits: bool
    """Whether the game stands still until a button is pressed."""
    help: str

    def begin(self) -> None:
        """A game begins."""
        ...

    def action(self, observation: np.ndarray, held: set[str]) -> int | None:
        """The next action; None when these buttons mean nothing in this game."""
        ...


class Person:
    """Plays by the buttons."""

    def __init__(self, spec: EnvSpec) -> None:
        self._keymap = keymap(spec)
        self.waits, self.help = self._keymap.waits, f"{self._keymap.help}, q quits"

    def begin(self) -> None:
        """Nothing to prepare."""

    def action(self, observation: np.ndarray, held: set[str]) -> int | None:
        return self._keymap.action(held)


class Watched:
    """A trained policy plays."""

    def __init__(self, policy: Policy, spec: EnvSpec) -> None:
        self._policy, self._meanings = policy, spec.action_meanings
        self.waits, self.help = False, "the agent plays, q quits"
        self.begin()

    def begin(self) -> None:
        self._first, self._state = np.ones(1, bool), self._policy.initial_state(1)

    def action(self, observation: np.ndarray, held: set[str]) -> int | None:
        output = self._policy.act(observation[None], self._first, self._state)
        self._first, self._state = np.zeros(1, bool), output.state
        return int(output.action[0])


class _Left(Exception):
    """The player wants to see no more."""


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


def play_games(
    env: Environment, player: Player, display: Display, games: int | None, fps: float | None
) -> list[float]:
    """Plays until the player leaves, or so many games; returns the scores of those that were finished.

    Args:
        fps: steps per second where the game does not wait for buttons; None: what suits the game.
    """
    scores: list[float] = []
    try:
        while games is None or len(scores) < games:
            game = _Game(env, player, display, len(scores) + 1, fps)
            scores.append(game.play())
            game.pause()
    except _Left:
        pass
    return scores


class _Game:
    def __init__(
        self, env: Environment, player: Player, display: Display, number: int, fps: float | None
    ) -> None:
        self._env, self._player, self._display, self._number = env, player, display, number
        player.begin()
        self._score, self._steps = env.reset(), 0
        self._letters = env.text()
        rate = fps or (BOARD_RATE if self._letters else picture_rate(env.spec))
        self._pause_s, self._due = 1 / rate, time.monotonic()

    def play(self) -> float:
        """To its end; returns the score."""
        self._show()
        while True:
            transition = self._env.step(self._decide())
            self._score += transition.reward
            self._steps += 1
            over = transition.last or self._steps == self._env.spec.step_cap
            self._letters = self._env.text()
            self._show("game over: press a key, q quits" if over else "")
            if over:
                return self._score

    def _decide(self) -> int:
        while True:
            held = self._wait_for_button() if self._player.waits else self._wait_for_time()
            action = self._player.action(self._env.observation, held)
            if action is not None:
                return action

    def _wait_for_button(self) -> set[str]:
        while not (button := self._next_button(_REDRAW_S)):
            self._show()
        return {button}

    def _wait_for_time(self) -> set[str]:
        self._due = max(self._due + self._pause_s, time.monotonic())
        while (left := self._due - time.monotonic()) > 0:
            self._next_button(left)
        self._next_button(0)
        return self._display.held()

    def pause(self) -> None:
        """Until the player has seen the end: an agent goes on by itself, a person when ready."""
        if isinstance(self._player, Watched):
            self._next_button(max(self._pause_s, 1.0))
            return
        end = time.monotonic() + 0.5  # so that keys still pressed do not skip it
        while (left := end - time.monotonic()) > 0:
            self._next_button(left)
        self._next_button(None)

    def _next_button(self, timeout_s: float | None) -> str:
        button = self._display.next_button(timeout_s)
        if button == QUIT:
            raise _Left
        return button

    def _show(self, below: str = "") -> None:
        env = self._env
        parts = [env.spec.env_id, f"game {self._number}", f"score {self._score:g}", f"step {self._steps}"]
        status = "   ".join([*parts, *filter(None, [env.details()])])
        picture = None if self._letters else env.render()
        self._display.show(View(status, self._letters, picture, below or self._player.help))


def summary(env_id: str, scores: list[float]) -> str:
    """One line about the games that were played to their end."""
    if not scores:
        return f"{env_id}: no game was finished"
    shown = " ".join(f"{score:g}" for score in scores)
    mean = f", mean {np.mean(scores):.4g}" if len(scores) > 1 else ""
    return f"{env_id}: {len(scores)} game{'s' * (len(scores) > 1)}, score {shown}{mean}"
