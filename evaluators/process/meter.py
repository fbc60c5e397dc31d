"""Rows of numbers for the logs: on training between two looks at the scoreboard, and on evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from a3c.stores.scoreboard import TIMED, Scoreboard, counters_of
from a3c.types import Counters
from evaluators.games.episodes import Games
from evaluators.games.stats import summarise

Row = dict[str, float | None]
"""Numbers by name; None where there was nothing to measure."""

EVALUATION_TAGS = {
    "mean": "eval/score_mean",
    "median": "eval/score_median",
    "std": "eval/score_std",
    "min": "eval/score_min",
    "max": "eval/score_max",
    "iqm": "eval/score_iqm",
    "length_mean": "eval/length_mean",
    "truncated": "eval/truncated",
    "action_share": "eval/action_share",
    "exact_value": "eval/exact_value",
    "regret": "eval/regret",
}
"""TensorBoard tag of each number that a row on an evaluation may have."""


def interval_row(
    before: Mapping[str, float], after: Mapping[str, float], seconds: float, metric_names: Sequence[str]
) -> Row:
    """Rates, means and shares over an interval.

    Args:
        before: `Scoreboard.totals()` at its beginning.
        after: the same at its end.
        seconds: its length.
        metric_names: of the agent; the scoreboard holds their sums over `metric_count` gradients.
    """
    spent = {name: after[name] - before[name] for name in after}
    busy = sum(spent[f"time_{phase}"] for phase in TIMED)
    row: Row = {
        "steps_per_second": _ratio(spent["env_steps"], seconds),
        "frames_per_second": _ratio(spent["frames"], seconds),
        "updates_per_second": _ratio(spent["updates"], seconds),
        "mean_return": _ratio(spent["return_sum"], spent["episodes"]),
        "mean_length": _ratio(spent["length_sum"], spent["episodes"]),
        "mean_lag": _ratio(spent["lag_sum"], spent["updates"]),
        "mean_acting_lag": _ratio(spent["acting_lag_sum"], spent["updates"]),
    }
    row |= {f"share_{phase}": _ratio(spent[f"time_{phase}"], busy) for phase in TIMED}
    row |= {name: _ratio(spent[name], spent["metric_count"]) for name in ("grad_norm", *metric_names)}
    return row | {name: after[name] for name in ("episodes", "rejected_nonfinite", "rejected_stale")}


class Meter:
    """Reads the scoreboard now and then.

    Args:
        board: of the run.
        now: seconds, of the clock that the readings go by; the first reading is on the time from here.
    """

    def __init__(self, board: Scoreboard, now: float) -> None:
        self._board, self._at, self._totals = board, now, board.totals()

    def include_start(self, seconds: float) -> None:
        """Has the first reading also tell of the `seconds` between the start of the run and now."""
        self._at -= seconds
        self._totals = {name: self._board.get(self._board.main_row, name) for name in self._totals}

    @property
    def counters(self) -> Counters:
        """How far the run was at the last reading: the place of its row. Workers may be further by now."""
        return counters_of(self._totals)

    def read(self, now: float) -> Row | None:
        """A row on the time since the last reading; None when no step was taken in it."""
        totals = self._board.totals()
        if totals["env_steps"] == self._totals["env_steps"]:
            return None
        row = interval_row(self._totals, totals, now - self._at, self._board.metric_names)
        self._at, self._totals = now, totals
        return row


def games_row(games: Games) -> dict[str, float]:
    """Statistics of the scores, and what else distinguishes good games from bad ones."""
    s = summarise(games.scores)
    return {
        "n": s.n, "mean": s.mean, "std": s.std, "median": s.median, "min": s.min, "max": s.max, "iqm": s.iqm,
        "length_mean": float(np.mean(games.lengths)),
        "truncated": games.truncated,
        "action_share": games.action_share,
    }  # fmt: skip


def training_points(row: Row) -> dict[str, float]:
    """What there is of a row on training, under its TensorBoard tags: speed/, time/ and train/."""
    return {_training_tag(name): value for name, value in row.items() if value is not None}


def _training_tag(name: str) -> str:
    if name.endswith("_per_second"):
        return f"speed/{name}"
    if name.startswith("share_"):
        return f"time/{name.removeprefix('share_')}"
    return f"train/{name}"


def evaluation_points(row: Mapping[str, float]) -> dict[str, float]:
    """A row on an evaluation under its TensorBoard tags."""
    return {tag: row[name] for name, tag in EVALUATION_TAGS.items() if name in row}


def _ratio(value: float, by: float) -> float | None:
    return value / by if by > 0 else None
