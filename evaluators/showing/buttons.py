"""From the buttons a player holds to the action of a game."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from typing import NamedTuple

from a3c.types import EnvSpec

UP, DOWN, LEFT, RIGHT, FIRE, QUIT = "up", "down", "left", "right", "fire", "quit"

LETTERS = {"w": UP, "s": DOWN, "a": LEFT, "d": RIGHT, " ": FIRE, "q": QUIT, "escape": QUIT}
"""Keys that are buttons by another name; other keys are buttons by their own."""


class KeyMap(NamedTuple):
    """Which buttons mean which action."""

    actions: dict[frozenset[str], int]  # by the buttons held together
    idle: int | None  # the action while nothing is held; None: the game waits for the player
    help: str

    @property
    def waits(self) -> bool:
        """Whether the game goes on only when a button is pressed."""
        return self.idle is None

    def action(self, held: Collection[str]) -> int | None:
        """The action that takes in the most of the buttons held; of several FIRE comes first, because it
        is pressed for a moment only. `idle` for none."""
        possible = [(len(combo), FIRE in combo, combo) for combo in self.actions if combo <= set(held)]
        if not possible:
            return self.idle
        *_, chosen = max(possible, key=lambda entry: entry[:2])
        return self.actions[chosen]


_MOVE = "arrows move"
_GAMES: dict[str, tuple[dict[str, int], int | None, str]] = {
    "FrozenLake*": ({LEFT: 0, DOWN: 1, RIGHT: 2, UP: 3}, None, _MOVE),
    "CliffWalking*": ({UP: 0, RIGHT: 1, DOWN: 2, LEFT: 3}, None, _MOVE),
    "Taxi*": ({DOWN: 0, UP: 1, RIGHT: 2, LEFT: 3, "p": 4, "o": 5}, None, "arrows drive, p loads, o unloads"),
    "CartPole*": ({LEFT: 0, RIGHT: 1}, None, "left and right push"),
    "MountainCar*": ({LEFT: 0, RIGHT: 2}, 1, "left and right drive"),
    "Acrobot*": ({LEFT: 0, RIGHT: 2}, 1, "left and right turn"),
    "LunarLander*": ({LEFT: 1, UP: 2, RIGHT: 3}, 0, "up fires the main engine, left and right the others"),
}
"""Buttons, idle action and help of games whose actions have no names."""


def keymap(spec: EnvSpec) -> KeyMap:
    """The buttons of a game: by the names of its actions, by its id, or digits."""
    if spec.action_meanings:
        return _by_names(spec.action_meanings)
    digits = {frozenset({str(action)}): action for action in range(min(spec.num_actions, 10))}
    for pattern, (buttons, idle, words) in _GAMES.items():
        if fnmatch.fnmatchcase(spec.env_id, pattern):
            single = {frozenset({button}): action for button, action in buttons.items()}
            return KeyMap({**digits, **single}, idle, words)
    return KeyMap(digits, None, f"0 to {len(digits) - 1} are the actions")


def _by_names(meanings: tuple[str, ...]) -> KeyMap:
    """Of an Atari game, where UPRIGHTFIRE is three buttons."""
    parts = {"UP": UP, "DOWN": DOWN, "LEFT": LEFT, "RIGHT": RIGHT, "FIRE": FIRE}
    actions = {
        frozenset(button for part, button in parts.items() if part in meaning): action
        for action, meaning in enumerate(meanings)
    }
    return KeyMap(actions, actions.get(frozenset(), 0), "arrows move, space fires")
