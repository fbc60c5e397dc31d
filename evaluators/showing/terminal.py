"""A terminal as a screen and a keyboard; works over ssh.

Pictures are drawn with half blocks: each character shows two pixels, one as its own colour and one as that
of its background.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Mapping
from types import FrameType
from typing import Any

import cv2
import numpy as np

from a3c.errors import EXIT_SIGNAL, UsageError, printable
from a3c.storage.atomic import write_all
from evaluators.showing.buttons import DOWN, LEFT, LETTERS, QUIT, RIGHT, UP

HOLD_S = 0.2
"""How long a key counts as held: a terminal reports only presses, and repeats them every 30 ms."""

_ARROWS = {b"A": UP, b"B": DOWN, b"C": RIGHT, b"D": LEFT}
_OPPOSITE = {UP: DOWN, DOWN: UP, LEFT: RIGHT, RIGHT: LEFT}
_ENTER = b"\x1b[?1049h\x1b[?25l\x1b[2J"  # the other screen, no cursor, empty
_LEAVE = b"\x1b[0m\x1b[?25h\x1b[?1049l"
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
_PLAYER = re.compile(r"(\x1b\[4[0-7]m)[^\x1b](\x1b\[0m)")  # Gymnasium shows where it is by a background
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """The terminal of standard input and output, as a context manager; however it is left, by an exception
    or a signal too, the terminal is as it was.

    Raises:
        UsageError: there is no terminal, or one that cannot place text.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError("playing here needs a terminal; --window opens a window instead")
        if environ.get("TERM", "dumb") == "dumb":
            raise UsageError("this terminal cannot place text (TERM is dumb); take another, or --window")
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._deep = environ.get("COLORTERM", "") in ("truecolor", "24bit")
        self._pressed: list[str] = []  # read but not yet returned
        self._held: dict[str, float] = {}  # button: until when
        self._lines: list[str] = []  # on the screen now
        self._size = os.terminal_size((0, 0))

    def __enter__(self) -> Terminal:
        self._before = termios.tcgetattr(self._in)
        self._handlers = {s: signal.signal(s, self._end) for s in _ENDING}
        self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._pause)
        self._take()
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._give_back()

    def _take(self) -> None:
        tty.setcbreak(self._in)
        self._write(_ENTER)
        self._lines = []

    def _give_back(self) -> None:
        try:
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)
            self._write(_LEAVE)
        except (OSError, termios.error):
            pass  # the terminal is gone

    def _end(self, number: int, frame: FrameType | None) -> None:
        raise SystemExit(EXIT_SIGNAL + number)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets its screen, and this one comes back with `fg`."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def _write(self, data: bytes) -> None:
        try:
            write_all(self._out, data)
        except OSError:
            raise SystemExit(EXIT_SIGNAL + signal.SIGHUP) from None  # the connection is lost

    # -------------------------------------------------------------------------------------------------

    def next_button(self, timeout_s: float | None) -> str:
        """The next button that is pressed, or empty when none is in time; None waits for ever."""
        if not self._pressed and select.select([self._in], [], [], timeout_s)[0]:
            data = os.read(self._in, 64)
            self._pressed = buttons_of(data) if data else [QUIT]
        if not self._pressed:
            return ""
        button = self._pressed.pop(0)
        self._held.pop(_OPPOSITE.get(button, ""), None)
        self._held[button] = time.monotonic() + HOLD_S
        return button

    def held(self) -> set[str]:
        """The buttons that are held down, as far as a terminal can tell."""
        now = time.monotonic()
        self._held = {button: until for button, until in self._held.items() if until > now}
        return set(self._held)

    def show(self, status: str, game: str | np.ndarray, keys: str) -> None:
        """Draws what changed since the last time, fitted to the terminal's size."""
        size = os.get_terminal_size(self._out)
        if size != self._size:
            self._size, self._lines = size, []
            self._write(b"\x1b[0m\x1b[2J")
        room = max(1, size.lines - 2)
        if isinstance(game, str):
            lines = [with_player(only_colours(line)) for line in game.splitlines()[:room]]
        else:
            lines = half_blocks(game, size.columns, room, self._deep)
        if len(status) > size.columns:
            status = " ".join(status.split())
        lines = [status[: size.columns], *lines, keys[: size.columns]]
        drawn = [
            f"\x1b[{row};1H{line}\x1b[0m\x1b[K"
            for row, line in enumerate(lines, 1)
            if row > len(self._lines) or line != self._lines[row - 1]
        ]
        rest = "\x1b[J" if len(lines) < len(self._lines) else ""
        self._lines = lines
        if not drawn and not rest:
            return
        # The two outer codes let a terminal that knows them show all of it at once.
        self._write(f"\x1b[?2026h{''.join(drawn)}{rest}\x1b[?2026l".encode())


def only_colours(line: str) -> str:
    """A line that an environment drew: of its escape sequences only colours reach the terminal."""
    parts = _COLOUR.split(line)
    return "".join(part if i % 2 else printable(part) for i, part in enumerate(parts))


def with_player(line: str) -> str:
    """A line of a board with an @ where the player is, for eyes and terminals without colours."""
    return _PLAYER.sub(r"\1@\2", line)


def buttons_of(data: bytes) -> list[str]:
    """The buttons in what a terminal sent: arrows are ESC [ A to D or ESC O A to D, the rest letters."""
    buttons, i = [], 0
    while i < len(data):
        if data[i : i + 1] == b"\x1b":
            if data[i + 1 : i + 2] in (b"[", b"O") and data[i + 2 : i + 3] in _ARROWS:
                buttons.append(_ARROWS[data[i + 2 : i + 3]])
            i += 3  # other sequences mean nothing here
            continue
        letter = chr(data[i]).lower()
        if letter.isprintable() or letter == "\n":
            buttons.append(LETTERS.get(letter, letter))
        i += 1
    return buttons


def half_blocks(picture: np.ndarray, columns: int, rows: int, deep: bool) -> list[str]:
    """A picture [H, W, 3] uint8 as lines of text that fill at most `columns` x `rows`.

    Args:
        deep: 24-bit colours; else the 256 that nearly every terminal has.
    """
    height, width = picture.shape[:2]
    scale = min(columns / width, 2 * rows / height)
    size = max(1, int(width * scale)), max(2, int(height * scale) // 2 * 2)
    small = shrink(picture, size) if scale < 1 else cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
    codes = _colour_codes(small, deep)  # [rows, columns]
    return [_line(upper, lower, deep) for upper, lower in zip(codes[::2], codes[1::2], strict=True)]


def shrink(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture [H, W, 3] uint8 made smaller, to (width, height), such that small things stay to be seen: of
    the pixels that become one, the one that differs most from the picture's background, its median colour."""
    wide = picture.astype(np.int64)
    background = np.median(wide[::4, ::4].reshape(-1, 3), axis=0).astype(np.int64)
    colour = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    far = np.abs(wide - background).sum(-1) << 24 | colour  # [H, W], by distance first
    for axis, cells in ((0, size[1]), (1, size[0])):
        far = np.maximum.reduceat(far, np.arange(cells) * far.shape[axis] // cells, axis=axis)
    return np.stack([far >> 16 & 255, far >> 8 & 255, far & 255], axis=-1).astype(np.uint8)


def _line(upper: np.ndarray, lower: np.ndarray, deep: bool) -> str:
    parts, now = [], (-1, -1)
    for colours in zip(upper.tolist(), lower.tolist(), strict=True):
        if colours[0] != now[0]:
            parts.append(f"\x1b[38;{_colour(colours[0], deep)}m")
        if colours[1] != now[1]:
            parts.append(f"\x1b[48;{_colour(colours[1], deep)}m")
        parts.append("▀")
        now = colours
    return "".join(parts)


def _colour(code: int, deep: bool) -> str:
    return f"2;{code >> 16};{code >> 8 & 255};{code & 255}" if deep else f"5;{code}"


def _colour_codes(picture: np.ndarray, deep: bool) -> np.ndarray:
    """[H, W] int: 0xRRGGBB, or the nearest of the terminal's 6 x 6 x 6 colours and 24 grays."""
    red, green, blue = np.moveaxis(picture.astype(np.int64), -1, 0)
    if deep:
        return np.asarray(red << 16 | green << 8 | blue)
    bounds = (48, 115, 155, 195, 235)  # between the cube's 0, 95, 135, 175, 215 and 255
    cube = 16 + sum(np.digitize(part, bounds) * 6**i for i, part in enumerate((blue, green, red)))
    gray = (red + green + blue) // 3
    is_gray = (np.ptp(picture, axis=-1) < 10) & (gray >= 4) & (gray < 244)
    return np.asarray(np.where(is_gray, 232 + np.clip((gray - 3) // 10, 0, 23), cube))
