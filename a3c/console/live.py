"""How a run looks: a live view on a terminal, one plain line every few seconds anywhere else.

Both are drawn from the status dictionary that `status.json` holds, so `a3c status` shows the same. A view
never hurts the run it shows: when its stream breaks (a closed pipe, a full disk), output is dropped.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from a3c.console.streams import UnbreakableStream
from a3c.errors import printable

Status = Mapping[str, Any]

STOP_HINT = "Ctrl-C saves and stops; again aborts"
LIVE_STATES = ("starting", "running", "stopping")
_STYLES = {
    "running": "green", "starting": "yellow", "stopping": "yellow", "backoff": "yellow",
    "failed": "bold red", "died": "bold red", "fatal": "bold red",
}  # fmt: skip


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
    """A table that redraws itself in place, at each update."""

    def __init__(self, stream: TextIO, hint: str = STOP_HINT) -> None:
        self._hint = hint
        self._stream = UnbreakableStream(stream)
        self._console = make_console(self._stream, terminal=True)
        self._live = Live(console=self._console, auto_refresh=False)

    def update(self, status: Status) -> None:
        if not self._live.is_started:
            self._live.start()
        self._live.update(panel(status, self._hint, self._console.height), refresh=True)

    def message(self, text: str) -> None:
        self._console.print(Text(printable(text, lines=True)))

    def close(self) -> None:
        self._live.stop()
        self._stream.settle()


def make_console(stream: Any, terminal: bool) -> Console:
    """A rich console; colour only on a terminal, and not when NO_COLOR is set."""
    width = None if terminal else 100
    return Console(
        file=stream, force_terminal=terminal, width=width, highlight=False, emoji=False, markup=False
    )


# ---------------------------------------------------------------------------------------------------
# One line


def plain_line(status: Status) -> str:
    """All key numbers of a run in one line."""
    when = str(status.get("updated") or "")[:19].replace("T", " ")
    workers = status.get("workers") or []
    running = sum(worker.get("state") == "running" for worker in workers)
    parts = [
        f"{when} {status.get('state') or 'unknown'}".strip(),
        _steps(status),
        f"{_rate(status.get('steps_per_second'))} steps/s",
        f"score {_score(_evaluator(status).get('last_score'))} best {_best(status)}",
        f"return {_score(status.get('last_return'))}",
        f"workers {running}/{len(workers)}",
        f"elapsed {duration(status.get('elapsed_s'))}",
    ]
    if status.get("eta_s") is not None:
        parts.append(f"eta {duration(status['eta_s'])}")
    if status.get("target_eta_s") is not None:
        parts.append(f"target in about {duration(status['target_eta_s'])}")
    if games := _games(status):
        parts.append(games)
    return "  ".join(parts)


def _steps(status: Status) -> str:
    text = f"{count(status.get('steps'))} steps"
    if status.get("progress") is not None:
        text += f" ({100 * status['progress']:.1f}%)"
    return text


# ---------------------------------------------------------------------------------------------------
# A screen


def panel(status: Status, hint: str = "", height: int = 0) -> RenderableType:
    """Everything about a run; workers that do not fit into `height` lines are summed up (0: no limit)."""
    parts: list[RenderableType] = [_heading(status)]
    if status.get("progress") is not None:
        parts.append(_progress(status))
    facts = _facts(status)
    parts += [facts, _workers(status, max(3, height - facts.row_count - 7) if height else 0)]
    if status.get("message"):
        parts.append(Text(printable(status["message"], lines=True), style="yellow"))
    if hint and status.get("state") in LIVE_STATES:
        parts.append(Text(hint, style="dim"))
    return Group(*parts)


def _heading(status: Status) -> Text:
    preset = f" (preset {status['preset']})" if status.get("preset") else ""
    text = Text(f"{status.get('env') or '?'} {status.get('algo') or ''}{preset}  ", style="bold")
    text.append(str(status.get("state") or "unknown"), style=_style(status.get("state")))
    return text.append(f"  {status.get('run_dir') or ''}", style="not bold")


def _progress(status: Status) -> Table:
    line = Table.grid(padding=(0, 1))
    line.add_row(
        ProgressBar(total=1.0, completed=status["progress"], width=40, complete_style="green"),
        f"{100 * status['progress']:.1f}%",
        f"eta {duration(status.get('eta_s'))}",
    )
    return line


def _facts(status: Status) -> Table:
    evaluator = _evaluator(status)
    goal = f" of {count(status['max_steps'])}" if status.get("max_steps") else ""
    memory = status.get("memory_bytes")
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(no_wrap=True, overflow="ellipsis")
    rows = {
        "progress": f"{count(status.get('steps'))} steps{goal}, {count(status.get('frames'))} frames, "
        f"{count(status.get('episodes'))} episodes in {duration(status.get('elapsed_s'))}",
        "score": f"{_score(evaluator.get('last_score'))} {_at(evaluator.get('last_score_steps'))}, "
        f"best {_best(status)} {_at(status.get('best_score_steps'))}",
        "training": f"mean return {_score(status.get('last_return'))}",
        "speed": f"{_rate(status.get('steps_per_second'))} steps/s, "
        f"{_rate(status.get('frames_per_second'))} frames/s",
        "updates": f"{count(status.get('updates'))}, {count(status.get('rejected'))} refused, "
        f"mean lag {_score(status.get('mean_lag'))}",
        "memory": f"{memory / 2**30:.1f} GiB" if memory else "-",
        "checkpoint": str(status.get("checkpoint") or "none yet"),
    }
    if status.get("target_score") is not None:
        rows["target"] = _target(status)
    if status.get("gpus"):
        rows["gpus"] = ", ".join(map(_gpu, status["gpus"]))
    if status.get("tensorboard"):
        rows["curves"] = str(status["tensorboard"])
    for name, text in rows.items():
        table.add_row(Text(name, style="dim"), Text(printable(text, lines=True)))
    return table


def _workers(status: Status, limit: int) -> Table:
    """A line per process; the first `limit` workers when there are more (0: all)."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("process", "state", "doing"):
        table.add_column(name)
    for name in ("steps/s", "steps", "restarts"):
        table.add_column(name, justify="right")
    for name in ("device", "pid"):
        table.add_column(name)
    workers = status.get("workers") or []
    shown = workers[:limit] if limit else workers
    for worker in shown:
        _add_process(table, f"worker {'?' if worker.get('id') is None else worker['id']}", worker)
    if len(shown) < len(workers):
        rest = workers[len(shown) :]
        running = sum(worker.get("state") == "running" for worker in rest)
        table.add_row(f"{len(rest)} more", f"{running} running")
    if _evaluator(status):
        doing = _games(status) or _evaluator(status).get("phase")
        _add_process(table, "evaluator", {**_evaluator(status), "phase": doing})
    return table


def _add_process(table: Table, name: str, process: Status) -> None:
    state = str(process.get("state") or "unknown")
    rate, steps = process.get("steps_per_second"), process.get("steps")
    table.add_row(
        name,
        Text(state, style=_style(state)),
        str(process.get("phase") or ""),
        "" if rate is None else _rate(rate),
        "" if steps is None else count(steps),
        str(process.get("restarts") or 0),
        str(process.get("device") or ""),
        str(process.get("pid") or ""),
    )


# ---------------------------------------------------------------------------------------------------
# Words


def duration(seconds: float | None) -> str:
    """ "45 s", "12 m 03 s", "5 h 20 m" or "3 d 04 h"; "-" when not known."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def count(number: float | None) -> str:
    """A whole number with thousands separated; "-" when not known."""
    return "-" if number is None else f"{int(number):,}"


def _rate(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _score(number: float | None) -> str:
    return "-" if number is None else f"{number:,.1f}"


def _best(status: Status) -> str:
    """An exact value (of a table) may be below the score of some games; any other best score has to be
    confirmed by a second evaluation."""
    if status.get("best_score") is None and _evaluator(status).get("last_score") is not None:
        return "not confirmed yet"
    exact = " (exact value)" if status.get("best_is_exact") is True else ""
    return _score(status.get("best_score")) + exact


def _target(status: Status) -> str:
    eta_s = status.get("target_eta_s")
    trend = "" if eta_s is None else f", reached in about {duration(eta_s)} by the trend of the scores"
    return f"score {status['target_score']:g}{trend}"


def _games(status: Status) -> str:
    """How far an evaluation in progress is."""
    games, over = _evaluator(status).get("games"), _evaluator(status).get("games_over")
    return f"{count(over)} of {count(games)} games over" if games else ""


def _gpu(gpu: Status) -> str:
    """ "0: 61 %, 3.2 of 80.0 GiB": over all programs that use it."""
    use, used, total = (
        gpu.get(name) for name in ("utilization_percent", "memory_bytes", "memory_total_bytes")
    )
    parts = [] if use is None else [f"{use:.0f} % busy"]
    if used is not None and total is not None:
        parts.append(f"{used / 2**30:.1f} of {total / 2**30:.1f} GiB")
    return f"{count(gpu.get('id'))}: {' and '.join(parts) or '-'}"


def _at(steps: float | None) -> str:
    return "" if steps is None else f"at {count(steps)} steps"


def _evaluator(status: Status) -> Status:
    return status.get("evaluator") or {}


def _style(state: object) -> str:
    return _STYLES.get(str(state).lower(), "")
