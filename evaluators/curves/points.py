"""The learning curves of runs, read from their metrics, smoothed and averaged over seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from a3c.errors import UsageError
from a3c.settings.config import Config
from a3c.storage.atomic import replace_file, storage_errors
from a3c.storage.records import read_json_lines
from a3c.storage.run_directory import CONFIG, METRICS, load_config

TRAIN, EVALUATION = "train", "evaluation"
AXES = ("steps", "frames", "episodes", "time")

_OWN_TO_A_RUN = {"seed", "run_dir", "load", "init_from"}
"""Settings in which the seeds of one curve may differ."""

_GRID = 300  # points of an average over runs


class Point(NamedTuple):
    """One point of a curve."""

    kind: str  # TRAIN or EVALUATION
    env_steps: int
    frames: int
    episodes: float  # finished in training so far
    wall_s: float  # over all resumes
    score: float  # mean
    low: float  # lowest and highest score of an evaluation; of training, the mean again
    high: float
    games: float  # behind the mean


@dataclass(frozen=True)
class Curves:
    """What one run has shown."""

    path: Path
    config: Config
    points: list[Point]

    def xy(self, kind: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
        """[n] places on the axis and [n, 4] score, low, high and games."""
        points = [point for point in self.points if point.kind == kind]
        x = [getattr(point, _FIELDS[axis]) for point in points]
        return np.array(x, float), np.array([point[5:] for point in points], float).reshape(-1, 4)

    def setting(self) -> str:
        """The same for runs that differ only in their seeds."""
        flat = {k: v for group in self.config.to_dict().values() for k, v in group.items()}
        return repr(sorted((k, v) for k, v in flat.items() if k not in _OWN_TO_A_RUN))


_FIELDS = {"steps": "env_steps", "frames": "frames", "episodes": "episodes", "time": "wall_s"}


def read_curves(path: Path) -> Curves:
    """The points of a run, without those that a crash lost. Raises UsageError, CheckpointError or
    StorageError."""
    if not (path / CONFIG).is_file():
        raise UsageError(f"{path} is no run: it has no {CONFIG}")
    if not (path / METRICS).is_file():
        raise UsageError(f"{path} has no points yet: no {METRICS}")
    with storage_errors(f"read {path / METRICS}"):
        rows = surviving(list(read_json_lines(path / METRICS)))
    points = _points(rows)
    if not points:
        raise UsageError(f"{path} has no points yet: nothing was played to its end")
    return Curves(path, load_config(path), points)


def surviving(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that count. Where the steps of training fall back, the run was resumed from an earlier
    checkpoint, and what was seen beyond it was lost."""
    kept: list[dict[str, Any]] = []
    reached = -1.0
    for row in rows:
        steps = row.get("env_steps")
        if not isinstance(steps, int | float):
            continue
        if row.get("kind") == TRAIN:
            if steps < reached:
                kept = [earlier for earlier in kept if earlier["env_steps"] < steps]
            reached = steps
        kept.append(row)
    return kept


def _points(rows: Sequence[dict[str, Any]]) -> list[Point]:
    train = [row for row in rows if row.get("kind") == TRAIN]
    steps, episodes = ([float(row.get(name) or 0) for row in train] for name in ("env_steps", "episodes"))
    points, before = [], 0.0
    for row in rows:
        at = float(np.interp(row["env_steps"], steps, episodes)) if train else 0.0
        place = (row["env_steps"], row.get("frames") or 0, at, row.get("wall_s") or 0.0)
        if row.get("kind") == TRAIN:
            score, games = row.get("mean_return"), max(at - before, 1.0)
            if score is not None:
                points.append(Point(TRAIN, *place, score, score, score, games))
                before = at
        elif row.get("kind") == EVALUATION and row.get("mean") is not None and _on_the_clock(row):
            score = row["mean"]
            bounds = row.get("min"), row.get("max")
            low, high = (score if bound is None else bound for bound in bounds)
            points.append(Point(EVALUATION, *place, score, low, high, row.get("n") or 1))
    return points


def _on_the_clock(row: dict[str, Any]) -> bool:
    """A second look at a good score is no point of the curve: only good ones get one."""
    return row.get("purpose") != "recheck"


def moving_average(values: np.ndarray, weights: np.ndarray, window: int) -> np.ndarray:
    """[n]: mean of each value and the `window` - 1 before it, weighted."""
    total = np.concatenate([[0.0], np.cumsum(values * weights)])
    weight = np.concatenate([[0.0], np.cumsum(weights)])
    end = np.arange(1, len(values) + 1)
    begin = np.maximum(end - window, 0)
    return np.asarray((total[end] - total[begin]) / (weight[end] - weight[begin]))


class Band(NamedTuple):
    """Several runs on one axis."""

    x: np.ndarray  # [n]
    mean: np.ndarray  # [n], over the runs
    low: np.ndarray
    high: np.ndarray


def band(series: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band | None:
    """The mean and the extremes of (x, y) series of several runs, as far as all of them go."""
    if any(len(x) == 0 for x, _ in series):
        return None
    begin, end = max(x[0] for x, _ in series), min(x[-1] for x, _ in series)
    if end < begin:
        return None
    longest = max(len(x) for x, _ in series)
    grid = np.linspace(begin, end, min(_GRID, longest) if end > begin else 1)
    values = np.stack([np.interp(grid, x, y) for x, y in series])
    return Band(grid, values.mean(0), values.min(0), values.max(0))


def write_csv(path: Path, runs: Sequence[Curves]) -> None:
    """Every point of every run. Raises StorageError."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", *Point._fields])
    writer.writerows([run.path.name, *point] for run in runs for point in run.points)
    with storage_errors(f"write {path}"):
        replace_file(path, text.getvalue().encode(), durable=False)
