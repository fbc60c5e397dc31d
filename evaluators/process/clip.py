"""A short animated picture of a game, small enough for the logs."""

from __future__ import annotations

import io
from collections import deque

import cv2
import numpy as np
from PIL import Image

LAST_STEPS = 200
"""Steps that are kept, one picture each: how a game ended, 13 seconds of an Atari game."""

SIDE = 210
"""Longest side in pixels, that of an Atari screen; larger pictures are made a half, a third, ... as large."""


class Clip:
    """The last steps of a game.

    Args:
        fps: steps per second at which the game looks right.
    """

    def __init__(self, fps: float) -> None:
        self._duration_ms = max(20, round(1000 / fps))  # browsers show anything faster much slower
        self._pictures: deque[np.ndarray] = deque(maxlen=LAST_STEPS)

    def __len__(self) -> int:
        """Pictures it holds."""
        return len(self._pictures)

    def add(self, picture: np.ndarray) -> None:
        """Takes the next picture [H, W, 3] uint8."""
        height, width = picture.shape[:2]
        factor = -(-max(height, width) // SIDE)
        size = max(1, width // factor), max(1, height // factor)
        self._pictures.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))

    def encode(self) -> tuple[bytes, tuple[int, int]]:
        """As a GIF that repeats for ever, and its height and width. Raises ValueError without pictures."""
        if not self._pictures:
            raise ValueError("there is no picture to encode")
        first, *others = (Image.fromarray(picture) for picture in self._pictures)
        file = io.BytesIO()
        first.save(file, "GIF", save_all=True, append_images=others, duration=self._duration_ms, loop=0)
        return file.getvalue(), (first.height, first.width)
