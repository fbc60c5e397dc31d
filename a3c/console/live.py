"""How a run looks: a live view on a terminal, one plain line every few seconds anywhere else.

Both are drawn from the status dictionary that `status.json` holds, so `a3c status` shows the same. A view
never hurts the run it shows: when its stream breaks (a closed pipe, a full disk), output is dropped.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from a3c.console.panel import Status, panel, plain_line
from a3c.console.streams import UnbreakableStream
from a3c.errors import printable

STOP_HINT = "Ctrl-C saves and stops; again aborts"


class View(ABC):
    """Shows a run while it goes on; a context manager that closes itself."""

    @abstractmethod
    def update(self, status: Status) -> None:
        """Shows how the run is now."""

    @abstractmethod
    def message(self, text: str) -> None:
        """Shows a line that stays, such as a warning."""

    @abstractmethod
    def close(self) -> None:
        """Leaves the terminal as it was, the last state still on it; safe to call twice."""

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_view(stream: TextIO, every_s: float = 10.0, hint: str = STOP_HINT) -> View:
    """The live view when `stream` is a terminal, else plain lines at least `every_s` seconds apart.

    Args:
        hint: what Ctrl-C does, shown while the run goes on.
    """
    return LiveView(stream, hint) if is_terminal(stream) else PlainView(stream, every_s)


def is_terminal(stream: TextIO) -> bool:
    """Whether `stream` can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


class PlainView(View):
    """One line every `every_s` seconds and at each change of state, without control codes."""

    def __init__(self, stream: TextIO, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = UnbreakableStream(stream)
        self._every_s = every_s
        self._clock = clock
        self._due = 0.0
        self._state = ""
        self._told = 0  # lines that were dropped

    def update(self, status: Status) -> None:
        now = self._clock()
        if now >= self._due or status.get("state") != self._state:
            self._due = now + self._every_s
            self._state = str(status.get("state"))
            self.message(plain_line(status))

    def message(self, text: str) -> None:
        dropped = self._stream.dropped
        if dropped > self._told:
            text = f"({dropped - self._told} lines before this one were dropped: nobody read them)\n{text}"
        self._stream.write(printable(text, lines=True) + "\n")
        if self._stream.dropped == dropped:
            self._told = dropped

    def close(self) -> None:
        self._stream.settle()


class LiveView(View):
    """A table that redraws itself in place, at each update, below the messages."""

    def __init__(self, stream: TextIO, hint: str = STOP_HINT) -> None:
        self._hint = hint
        self._stream = UnbreakableStream(stream)
        self._console = make_console(self._stream, terminal=True)
        self._live = Live(console=self._console, auto_refresh=False)
        self._size = self._measure()
        self._messages: deque[Text] = deque(maxlen=100)

    def update(self, status: Status) -> None:
        size = self._measure()
        lines = size.lines - 1  # the last one is for the prompt of a shell, once the run is over
        shown = panel(status, self._hint, size.columns, lines)
        if size != self._size:
            self._size = size
            self._clear(lines - len(shown))
        if not self._live.is_started:
            self._live.start()
        self._live.update(Group(*shown), refresh=True)

    def message(self, text: str) -> None:
        self._messages.append(Text(printable(text, lines=True)))
        self._console.print(self._messages[-1])

    def close(self) -> None:
        self._live.stop()
        self._stream.settle()

    def _measure(self) -> os.terminal_size:
        """Of the terminal itself: a variable COLUMNS is of the time at which it was set."""
        with suppress(OSError, ValueError):
            if all(size := os.get_terminal_size(self._stream.fileno())):  # 0: nobody told it
                self._console.size = size
        return os.terminal_size(self._console.size)

    def _clear(self, room: int) -> None:
        """Empties a terminal that has moved what was drawn, as it does when its size changes. The last
        messages come again, as many as there is room for."""
        # Line by line: what is cleared at once some terminals keep, above their top.
        rows = "".join(f"\x1b[{row};1H\x1b[2K" for row in range(self._size.lines, 0, -1))
        self._stream.write(rows)
        self._live.update("")
        self._live.stop()
        self._stream.write("\x1b[1;1H")
        kept: list[Text] = []
        for text in reversed(self._messages):
            if (room := room - len(self._console.render_lines(text))) < 0:
                break
            kept.append(text)
        for text in reversed(kept):
            self._console.print(text)
        self._live = Live(console=self._console, auto_refresh=False)


def make_console(stream: Any, terminal: bool) -> Console:
    """A rich console; colour only on a terminal, and not when NO_COLOR is set."""
    width = None if terminal else 100
    return Console(
        file=stream, force_terminal=terminal, width=width, highlight=False, emoji=False, markup=False
    )
