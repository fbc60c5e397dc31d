"""A window of pygame as a screen and a keyboard."""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame

from a3c.errors import UsageError
from evaluators.showing.buttons import DOWN, LEFT, LETTERS, QUIT, RIGHT, UP
from evaluators.showing.terminal import View
from evaluators.showing.video import ENLARGED_HEIGHT

_ARROWS = {pygame.K_UP: UP, pygame.K_DOWN: DOWN, pygame.K_LEFT: LEFT, pygame.K_RIGHT: RIGHT}
_POLL_S = 0.005
_BACKGROUND = (0, 0, 0)


class GameWindow:
    """A window, as a context manager; its title tells the status. Raises UsageError without a display."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._tapped: set[str] = set()  # pressed since `held` was last asked
        self._screen: pygame.Surface | None = None
        try:
            pygame.display.init()  # before a game is made: the first to do so chooses the display for all
        except pygame.error as error:
            raise UsageError(f"--window: {error}; without --window, the game is in the terminal") from error

    def __enter__(self) -> GameWindow:
        return self

    def __exit__(self, *exception: Any) -> None:
        pygame.display.quit()

    def next_button(self, timeout_s: float | None) -> str:
        """The next button that is pressed, or empty when none is in time; None waits for ever."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            while event := pygame.event.poll():
                if button := self._take(event):
                    return button
            left = _POLL_S if end is None else end - time.monotonic()
            if left <= 0:
                return ""
            time.sleep(min(left, _POLL_S))

    def _take(self, event: pygame.event.Event) -> str:
        """The button that an event presses."""
        if event.type == pygame.QUIT:
            return QUIT
        if event.type not in (pygame.KEYDOWN, pygame.KEYUP):
            return ""
        name = "\n" if event.key == pygame.K_RETURN else " " if event.key == pygame.K_SPACE else ""
        name = name or pygame.key.name(event.key)
        button = _ARROWS.get(event.key) or LETTERS.get(name, name)
        if event.type == pygame.KEYUP:
            self._held.discard(button)
            return ""
        self._held.add(button)
        self._tapped.add(button)
        return button

    def held(self) -> set[str]:
        """The buttons that are held down, or were for a moment."""
        held = self._held | self._tapped
        self._tapped = set()
        return held

    def show(self, view: View) -> None:
        """Draws a view's picture as large as fits."""
        pygame.display.set_caption(f"{view.status}  -  {view.help}")
        if view.picture is None:
            return
        height, width = view.picture.shape[:2]
        if self._screen is None:
            factor = max(1, ENLARGED_HEIGHT // height)
            self._screen = pygame.display.set_mode((width * factor, height * factor), pygame.RESIZABLE)
        screen = self._screen
        factor = min(screen.get_width() / width, screen.get_height() / height)
        picture = pygame.surfarray.make_surface(np.swapaxes(view.picture, 0, 1))
        scaled = pygame.transform.scale(picture, (int(width * factor), int(height * factor)))
        screen.fill(_BACKGROUND)
        screen.blit(scaled, scaled.get_rect(center=screen.get_rect().center))
        pygame.display.flip()
