"""A terminal of some size, and what can be seen on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte

from tests.warm import Start, WarmProcess

ROOT = Path(__file__).parents[1]


class Screen:
    """A pseudo terminal, read by an emulator; a context manager.

    Args:
        columns: its width.
        lines: its height.
    """

    def __init__(self, columns: int, lines: int) -> None:
        self._outer, self._inner = pty.openpty()
        self._emulator = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self._emulator)
        self._tell_size(columns, lines)

    def start(self, *command: str, cwd: Path, env: Mapping[str, str] | None = None) -> WarmProcess:
        """Runs a command of the project in it."""
        kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        environ = {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLORTERM": "", **(env or {})}
        terminal = os.ttyname(self._inner)
        return WarmProcess(Start(command, str(cwd), environ, terminal, terminal, terminal))

    def resize(self, columns: int, lines: int) -> None:
        self._emulator.resize(lines, columns)
        self._tell_size(columns, lines)

    def press(self, keys: bytes) -> None:
        os.write(self._outer, keys)

    @property
    def lines(self) -> list[str]:
        """What is seen, without the blanks at the ends."""
        return [line.rstrip() for line in self._emulator.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def above(self) -> list[str]:
        """The lines that have left it at its top."""
        return ["".join(cell.data for cell in line.values()) for line in self._emulator.history.top]

    def colour(self, line: int, column: int) -> tuple[str, str]:
        """Of a character and of its background: a name or "rrggbb"."""
        cell = self._emulator.buffer[line][column]
        return cell.fg, cell.bg

    def wait_for(self, condition: Callable[[], object], timeout_s: float = 300.0) -> None:
        """Reads on until it is true."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.text
            if select.select([self._outer], [], [], 0.1)[0]:
                self._stream.feed(os.read(self._outer, 65536))

    def _tell_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._outer)
        os.close(self._inner)
