"""A run's status as one line of text, and as a screen of it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from rich.text import Text

from a3c.errors import printable

Status = Mapping[str, Any]

LIVE_STATES = ("starting", "running", "stopping")
_STYLES = {
    "running": "green", "starting": "yellow", "stopping": "yellow", "backoff": "yellow",
    "failed": "bold red", "died": "bold red", "fatal": "bold red",
}  # fmt: skip

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
    if (eta_s := _forecast(status, "eta_s")) is not None:
        parts.append(f"eta {duration(eta_s)}")
    if (eta_s := _forecast(status, "target_eta_s")) is not None:
        parts.append(f"target in about {duration(eta_s)}")
    if games := _games(status):
        parts.append(games)
    return "  ".join(parts)


def _forecast(status: Status, name: str) -> Any:
    """Seconds until something; None for a run that does not go on."""
    return status.get(name) if status.get("state") == "running" else None


def _steps(status: Status) -> str:
    text = f"{count(status.get('steps'))} steps"
    if status.get("progress") is not None:
        text += f" ({100 * status['progress']:.1f}%)"
    return text


# ---------------------------------------------------------------------------------------------------
# A screen


_IMPORTANCE = (
    "progress", "score", "speed", "target", "training", "checkpoint", "gpus", "memory", "updates", "curves",
)  # fmt: skip
"""The facts, those first that are kept the longest where there is no room for all."""

_FEWEST_FACTS, _FEWEST_WORKERS, _MESSAGE_LINES = 3, 2, 3
_COLUMNS = ("process", "state", "doing", "steps/s", "steps", "restarts", "device", "pid")
_NUMBERS = ("steps/s", "steps", "restarts")
_CUT = "..."


def panel(status: Status, hint: str = "", width: int = 100, height: int = 0) -> list[Text]:
    """Everything about a run in lines of at most `width` characters; where that takes more than `height`
    lines (0: there is no limit), the facts and workers that matter most."""
    top = [_heading(status, width)]
    if status.get("progress") is not None:
        top.append(_progress(status, width))
    bottom = _words(status, hint, width, _MESSAGE_LINES if height else None)
    facts, workers = _facts(status, width), len(status.get("workers") or [])
    workers += len(status.get("nodes") or [])
    beside = 1 + bool(_evaluator(status)) + bool(status.get("exchanger"))  # lines on other processes
    room = height - len(top) - len(bottom) if height else len(facts) + beside + workers
    least = beside + min(workers, _FEWEST_WORKERS)
    number = min(max(room - least, min(room, _FEWEST_FACTS), 0), len(facts))
    kept = [name for name in _IMPORTANCE if name in facts][:number]
    lines = top + [text for name, text in facts.items() if name in kept]
    if (left := room - len(kept)) >= least:
        lines += _processes(status, left - beside, width)
    return [*lines, *bottom][: height or None]


def _line(width: int, *parts: tuple[str, str]) -> Text:
    """Words with their styles; what does not fit is cut."""
    text = Text.assemble(*((printable(words), style) for words, style in parts), no_wrap=True)
    text.rstrip()
    if text.cell_len > width:
        text.truncate(max(width - len(_CUT), 0))
        text.append(_CUT[:width])
    return text


def _heading(status: Status, width: int) -> Text:
    what = f"{status.get('env') or '?'} {status.get('algo') or ''}"
    preset = f" (preset {status['preset']})" if status.get("preset") else ""
    state, place = str(status.get("state") or "unknown"), str(status.get("run_dir") or "")
    if len(f"{what}{preset}  {state}  {place}") > width:
        preset = ""
    return _line(width, (f"{what}{preset}  ", "bold"), (state, f"bold {_style(state)}"), (f"  {place}", ""))


def _progress(status: Status, width: int) -> Text:
    share = min(max(status["progress"], 0.0), 1.0)
    words = f" {100 * share:.1f}% eta {duration(_forecast(status, 'eta_s'))}"
    cells = max(1, min(40, width - len(words) - 2))
    done = round(cells * share)
    return _line(width, ("[", ""), ("#" * done, "green"), ("-" * (cells - done), "dim"), (f"]{words}", ""))


def _words(status: Status, hint: str, width: int, most: int | None) -> list[Text]:
    """The last message, in so many lines at most, and what Ctrl-C does."""
    message = printable(status.get("message") or "", lines=True)
    wrapped = [part for line in message.splitlines() for part in textwrap.wrap(line, max(width, 1))]
    lines = [_line(width, (line, "yellow")) for line in wrapped[:most]]
    if hint and status.get("state") in LIVE_STATES:
        lines.append(_line(width, (hint, "dim")))
    return lines


def _facts(status: Status, width: int) -> dict[str, Text]:
    """A line for each, by name; of several ways to say one, the first that fits."""
    evaluator = _evaluator(status)
    steps = count(status.get("steps")) + " steps"
    goal = f" of {count(status['max_steps'])}" if status.get("max_steps") else ""
    spent = f" in {duration(status.get('elapsed_s'))}"
    frames, episodes = f"{count(status.get('frames'))} frames", f"{count(status.get('episodes'))} episodes"
    score, best = _score(evaluator.get("last_score")), f"best {_best(status)}"
    placed = score + _at(evaluator.get("last_score_steps")), best + _at(status.get("best_score_steps"))
    memory = status.get("memory_bytes")
    ways: dict[str, tuple[str, ...]] = {
        "progress": (f"{steps}{goal}, {frames}, {episodes}{spent}", f"{steps}{goal}{spent}", steps),
        "score": (", ".join(placed), f"{score}, {placed[1]}", f"{score}, {best}"),
        "training": (f"mean return {_score(status.get('last_return'))}",),
        "speed": (
            f"{_rate(status.get('steps_per_second'))} steps/s, "
            f"{_rate(status.get('frames_per_second'))} frames/s",
        ),
        "updates": (
            f"{count(status.get('updates'))}, {count(status.get('rejected'))} refused, "
            f"mean lag {_score(status.get('mean_lag'))}",
        ),
        "memory": (f"{memory / 2**30:.1f} GiB" if memory else "-",),
        "checkpoint": (str(status.get("checkpoint") or "none yet"),),
    }
    if status.get("target_score") is not None:
        ways["target"] = _target(status)
    if status.get("gpus"):
        ways["gpus"] = (", ".join(map(_gpu, status["gpus"])),)
    if status.get("tensorboard"):
        ways["curves"] = (str(status["tensorboard"]),)
    label = max(map(len, ways))
    lines = {}
    for name, texts in ways.items():
        text = next((text for text in texts if len(text) <= width - label - 2), texts[-1])
        lines[name] = _line(width, (f"{name:<{label}}  ", "dim"), (text, ""))
    return lines


def _processes(status: Status, limit: int, width: int) -> list[Text]:
    """A line for each, below their columns' names; of more than `limit` workers and other nodes the last are
    summed up."""
    found = [_process(f"worker {_number(worker)}", worker) for worker in status.get("workers") or []]
    found += (_node(node) for node in status.get("nodes") or [])
    shown = found if len(found) <= limit else found[: limit - 1]
    rows = [dict(zip(_COLUMNS, _COLUMNS, strict=True)), *shown]
    if rest := found[len(shown) :]:
        running = sum(row["state"] == "running" for row in rest)
        rows.append({"process": f"{len(rest)} more", "state": f"{running} running"})
    if _evaluator(status):
        doing = _games(status) or _evaluator(status).get("phase")
        rows.append(_process("evaluator", {**_evaluator(status), "phase": doing}))
    if exchanger := status.get("exchanger"):
        rows.append(_process("exchanger", exchanger))
    widths = {name: max(len(row.get(name, "")) for row in rows) for name in _COLUMNS}
    ends = accumulate(size + 2 for size in widths.values())
    names = [name for name, end in zip(_COLUMNS, ends, strict=True) if end <= width + 2]
    return [_row(row, names, widths, width, "" if i else "dim") for i, row in enumerate(rows)]


def _row(
    row: Mapping[str, str], names: Sequence[str], widths: Mapping[str, int], width: int, style: str
) -> Text:
    """The columns that fit, two characters apart; numbers are aligned at their right."""
    parts = []
    for name in names:
        text, size = row.get(name, ""), widths[name]
        text = text.rjust(size) if name in _NUMBERS else text.ljust(size)
        parts.append((f"{text}  ", style or (_style(row["state"]) if name == "state" else "")))
    return _line(width, *parts)


def _process(name: str, process: Status) -> dict[str, str]:
    rate, steps = process.get("steps_per_second"), process.get("steps")
    return {
        "process": name,
        "state": str(process.get("state") or "unknown"),
        "doing": str(process.get("phase") or ""),
        "steps/s": "" if rate is None else _rate(rate),
        "steps": "" if steps is None else count(steps),
        "restarts": str(process.get("restarts") or 0),
        "device": str(process.get("device") or ""),
        "pid": str(process.get("pid") or ""),
    }


def _node(node: Status) -> dict[str, str]:
    """The line of another machine; what went wrong there comes in the place of what it does."""
    words = node.get("message") or node.get("host")
    return _process(f"node {_number(node)}", {**node, "phase": words})


def _number(process: Status) -> str:
    return "?" if process.get("id") is None else str(process["id"])


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


def _target(status: Status) -> tuple[str, ...]:
    score, eta_s = f"score {status['target_score']:g}", _forecast(status, "target_eta_s")
    if eta_s is None:
        return (score,)
    reached = f"{score}, reached in about {duration(eta_s)}"
    return f"{reached} by the trend of the scores", reached


def _games(status: Status) -> str:
    """How far an evaluation in progress is."""
    games, over = _evaluator(status).get("games"), _evaluator(status).get("games_over")
    going_on = games and status.get("state") in LIVE_STATES
    return f"{count(over)} of {count(games)} games over" if going_on else ""


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
    return "" if steps is None else f" at {count(steps)} steps"


def _evaluator(status: Status) -> Status:
    return status.get("evaluator") or {}


def _style(state: object) -> str:
    return _STYLES.get(str(state).lower(), "")
