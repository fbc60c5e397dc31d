"""Showing games: in a window where there is a display, and as a video anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from a3c.types import EnvSpec
from evaluators.games.episodes import Games, Played, Steps
from evaluators.showing.video import ENLARGED_HEIGHT, Video

_KEYS_TO_CLOSE = (ord("q"), ord("Q"), 27)
_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1); cv2.destroyAllWindows()"
_PROBE_S = 30.0


class Screen(Protocol):
    """Somewhere to show pictures."""

    def show(self, frame: np.ndarray) -> bool:
        """Takes a picture [H, W, 3] uint8; False when nobody wants to see more."""
        ...

    def __enter__(self) -> Screen: ...

    def __exit__(self, *exception: Any) -> None: ...


def picture_rate(spec: EnvSpec) -> float:
    """Steps per second at which a game looks right; 15 for an Atari game that skips 4 frames."""
    return spec.frame_rate / (sum(spec.frame_skip) / 2)


def watch(steps: Generator[Played, None, Games], screens: Sequence[Screen]) -> Games | None:
    """Plays the first game of a batch to its end before somebody's eyes: one picture per step. None when
    a screen was closed meanwhile."""
    games = Steps(steps)
    for played in games:
        frame = played.envs.render(0)
        wanted = [screen.show(frame) for screen in screens]
        if not all(wanted):
            steps.close()
            return None
    return games.games


class Film:
    """A screen that becomes a video file, and says so."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._video: Video | None = None

    def show(self, frame: np.ndarray) -> bool:
        if self._video is None:
            self._video = Video(self._path, self._fps, (frame.shape[0], frame.shape[1]))
        self._video.write(frame)
        return True

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._video is not None:
            self._video.__exit__(*exception)
            if exception[0] is None:
                print(f"{self._video.frames} pictures written to {self._path}")


class Window:
    """A window on the display; q, Escape or its close button end the show."""

    def __init__(self, title: str, fps: float) -> None:
        self._title, self._pause_s = title, 1 / fps
        self._due = time.monotonic()
        os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")  # it misses fonts we do not use
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        self._sized = False

    def show(self, frame: np.ndarray) -> bool:
        if not self._sized:
            factor = max(1, round(ENLARGED_HEIGHT / frame.shape[0]))
            cv2.resizeWindow(self._title, frame.shape[1] * factor, frame.shape[0] * factor)
            self._sized = True
        cv2.imshow(self._title, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._due = max(self._due + self._pause_s, time.monotonic())
        return self._wait() not in _KEYS_TO_CLOSE and self._is_open()

    def _wait(self) -> int:
        """Lets the window work until the next picture is due; the key that was pressed, or -1."""
        while True:
            left = self._due - time.monotonic()
            key = cv2.waitKey(max(1, int(left * 1000))) & 0xFF
            if key != 0xFF or left <= 0.001:
                return key

    def _is_open(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # what some window systems answer for a window that is gone
            return False

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *exception: Any) -> None:
        cv2.destroyAllWindows()
        cv2.waitKey(1)  # some window systems close it only now


def no_window_because() -> str:
    """Why no window can be opened here; empty when one can.

    Tried in another process: without a working display, the window library ends its process.
    """
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display (DISPLAY is not set)"
    try:
        command = [sys.executable, "-c", _PROBE]
        probe = subprocess.run(command, capture_output=True, timeout=_PROBE_S, check=False)
    except subprocess.TimeoutExpired:
        return f"the display {os.environ.get('DISPLAY', '')} does not answer"
    if probe.returncode == 0:
        return ""
    return f"the display {os.environ.get('DISPLAY', '')} cannot be used by OpenCV"
