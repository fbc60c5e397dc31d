"""A window of pygame as a display; the drawing of Gymnasium's own games needs pygame anyway.

Unlike OpenCV's window, it knows which keys are held down, and says so where there is no display instead of
ending the process.
"""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame

from a3c.errors import UsageError
from a3c.system import LINUX
from evaluators.showing.buttons import DOWN, LEFT, LETTERS, QUIT, RIGHT, UP
from evaluators.showing.video import ENLARGED_HEIGHT

_ARROWS = {pygame.K_UP: UP, pygame.K_DOWN: DOWN, pygame.K_LEFT: LEFT, pygame.K_RIGHT: RIGHT}
_POLL_S = 0.005
_BACKGROUND = (0, 0, 0)
_DRIVER = "SDL_VIDEODRIVER"


class GameWindow:
    """A window, as a context manager; its title tells the status. To be made before any game is: the first
    to use SDL chooses its display for the whole process.

    Raises:
        UsageError: there is no display.
    """

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._tapped: set[str] = set()  # pressed since `held` was last asked
        self._size = (0, 0)  # of the window in pixels, [width, height]
        os.environ[_DRIVER] = _open_display()  # whatever others make of SDL, they stay on this display

    def __enter__(self) -> GameWindow:
        return self

    def __exit__(self, *exception: Any) -> None:
        pygame.display.quit()

    def next_button(self, timeout_s: float | None) -> str:
        """The next button that is pressed, or empty when none is in time; None waits for ever."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            pygame.display.init()  # a game that was closed has closed all of pygame
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

    def show(self, status: str, game: str | np.ndarray, keys: str) -> None:
        """Draws a picture as large as fits."""
        pygame.display.init()
        pygame.display.set_caption(f"{status}  -  {keys}")
        if isinstance(game, str):
            return
        height, width = game.shape[:2]
        screen = pygame.display.get_surface()
        if screen is None:
            factor = max(1, ENLARGED_HEIGHT // height)
            self._size = self._size if any(self._size) else (width * factor, height * factor)
            screen = pygame.display.set_mode(self._size, pygame.RESIZABLE)
        self._size = screen.get_size()
        factor = min(self._size[0] / width, self._size[1] / height)
        picture = pygame.surfarray.make_surface(np.swapaxes(game, 0, 1))
        scaled = pygame.transform.scale(picture, (int(width * factor), int(height * factor)))
        screen.fill(_BACKGROUND)
        screen.blit(scaled, scaled.get_rect(center=screen.get_rect().center))
        pygame.display.flip()


def _open_display() -> str:
    """Opens the display; returns the name of SDL's driver for it. Raises UsageError."""
    chosen, display = os.environ.get(_DRIVER), os.environ.get("DISPLAY", "")
    if LINUX and not (chosen or display or os.environ.get("WAYLAND_DISPLAY")):
        raise UsageError("there is no display (DISPLAY is not set)")
    try:
        pygame.display.quit()  # whatever was chosen for drawing
        pygame.display.init()
    except pygame.error as error:
        raise UsageError(f"the display {display} cannot be used: {error}") from error
    driver = pygame.display.get_driver()
    if driver == "offscreen" and not chosen:  # what SDL takes when nothing else works
        raise UsageError(f"the display {display} cannot be used")
    return driver
