"""The learning curves of runs, read from their metrics, smoothed and averaged over seeds."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from a3c.errors import UsageError
from a3c.settings.config import Config, from_dict
from a3c.storage.atomic import storage_errors
from a3c.storage.package_format import METRICS as PACKAGED
from a3c.storage.package_format import folder, is_package, read_package
from a3c.storage.records import read_lines, write_csv
from a3c.storage.run_directory import METRICS, load_config

TRAIN, EVALUATION = "train", "evaluation"
AXES = ("steps", "frames", "episodes", "time")

_TOO_LARGE = 1e30  # for the arithmetic of axes

MOST_ROWS = 50_000
"""Rows of a kind that are kept: where a run has more, every second, fourth, ... of them. A day has 8,640."""

_OWN_TO_A_RUN = {"seed", "run_dir", "load", "init_from", "partial"}
"""Settings in which the seeds of one curve may differ."""

_GRID = 300  # points of an average over runs

_log = logging.getLogger(__name__)


class CurvePoint(NamedTuple):
    """One point of a curve."""

    kind: str  # TRAIN or EVALUATION
    env_steps: float
    frames: float
    episodes: float  # finished in training so far
    wall_s: float  # over all resumes
    score: float  # mean; NaN in a row on training in which no episode was finished
    low: float  # lowest and highest score of an evaluation; of training, the mean again
    high: float
    games: float  # behind the mean


@dataclass(frozen=True)
class Curves:
    """What one run has shown."""

    path: Path
    config: Config
    points: list[CurvePoint]  # of training, then of evaluations

    def xy(self, kind: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
        """[n] places on the axis and [n, 4] score, low, high and games."""
        points = [point for point in self.points if point.kind == kind]
        x = [point[1 + AXES.index(axis)] for point in points]
        return np.array(x, float), np.array([point[5:] for point in points], float).reshape(-1, 4)

    def setting(self) -> str:
        """The same for runs that differ only in their seeds."""
        flat = {k: v for group in self.config.to_dict().values() for k, v in group.items()}
        return repr(sorted((k, v) for k, v in flat.items() if k not in _OWN_TO_A_RUN))


def read_curves(path: Path) -> Curves:
    """The points of a run, without those that a crash lost, or those in a package. Raises UsageError,
    CheckpointError or StorageError."""
    if is_package(path):
        return _read_package(path)
    if not os.path.lexists(path / METRICS):
        raise UsageError(f"{path} has no points yet: no {METRICS}")
    config = load_config(path)
    with storage_errors(f"read {path / METRICS}"):
        points = _with_episodes(*surviving(path / METRICS))
    if not points:
        raise UsageError(f"{path} has no points yet: nothing was played to its end")
    return Curves(path, config, points)


def _read_package(path: Path) -> Curves:
    """What `write_points` wrote of the run that was packaged."""
    config = from_dict(read_package(folder(path), str(path)).state["config"], str(path))
    points, damaged = list[CurvePoint](), 0
    with storage_errors(f"read {path / PACKAGED}"):
        for line in read_lines(path / PACKAGED) if os.path.lexists(path / PACKAGED) else ():
            kind, *numbers = line.decode(errors="replace").strip().split(",")[-len(CurvePoint._fields) :]
            try:
                if kind not in (TRAIN, EVALUATION):
                    continue  # the head
                points.append(CurvePoint(kind, *(_number({"value": float(n)}, "value") for n in numbers)))
            except (ValueError, TypeError):
                damaged += 1
            if len(points) > 2 * MOST_ROWS:
                break
    if not points:
        raise UsageError(f"{path} has no points: it was packaged without its learning curve")
    if damaged:
        _log.warning("%s: %d rows cannot be read and are left out", path / PACKAGED, damaged)
    return Curves(path, config, sorted(points, key=lambda point: point.kind == EVALUATION))


def surviving(path: Path) -> tuple[list[CurvePoint], list[CurvePoint]]:
    """The rows on training and on evaluations that count. Where the steps of training fall back, the run was
    resumed from an earlier checkpoint, and what was seen beyond it was lost. Raises OSError."""
    train, evaluations = kept = list[CurvePoint](), list[CurvePoint]()
    seen, every, damaged = [0, 0], 1, 0
    for line in read_lines(path):
        which = b'"train"' in line[:32]
        seen[which] += 1
        if seen[which] % every:
            continue
        try:
            point = _point(json.loads(line))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            damaged += 1
            continue
        if point is None:
            continue
        if point.kind == TRAIN and train and point.env_steps < train[-1].env_steps:
            for points in kept:
                while points and points[-1].env_steps >= point.env_steps:
                    points.pop()
        kept[point.kind == EVALUATION].append(point)
        if max(map(len, kept)) > MOST_ROWS:
            every *= 2
            del train[::2], evaluations[::2]
    if damaged:
        _log.warning("%s: %d rows cannot be read and are left out", path, damaged)
    return kept


def _point(row: dict[str, Any]) -> CurvePoint | None:
    """What a row shows; None when that is no point of a curve. Raises TypeError or AttributeError for a
    damaged one."""
    kind = row.get("kind")
    if kind not in (TRAIN, EVALUATION) or (kind == EVALUATION and row.get("mean") is None):
        return None
    steps, score = (
        _number(row, "env_steps"),
        _number(row, "mean_return" if kind == TRAIN else "mean", math.nan),
    )
    frames, episodes, wall_s = (_number(row, name, 0.0) for name in ("frames", "episodes", "wall_s"))
    low, high = (_number(row, name, score) for name in ("min", "max"))
    return CurvePoint(kind, steps, frames, episodes, wall_s, score, low, high, _number(row, "n", 1.0))


def _number(row: dict[str, Any], name: str, default: float | None = None) -> float:
    value = row.get(name)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _TOO_LARGE:
        raise TypeError(f"{name} is no number that can be drawn")
    return float(value)


def _with_episodes(train: list[CurvePoint], evaluations: list[CurvePoint]) -> list[CurvePoint]:
    """The points, each with the episodes of training until then, and with how many are behind it."""
    points, before = [], 0.0
    for point in train:
        if not math.isnan(point.score):
            points.append(point._replace(games=max(point.episodes - before, 1.0)))
            before = point.episodes
    if train:
        at = np.interp(
            [p.env_steps for p in evaluations], [p.env_steps for p in train], [p.episodes for p in train]
        )
        evaluations = [p._replace(episodes=e) for p, e in zip(evaluations, at.tolist(), strict=True)]
    return points + evaluations


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


def write_points(path: Path, runs: Sequence[Curves]) -> None:
    """Every point of every run, as CSV. Raises StorageError."""
    rows = ([run.path.name, *point] for run in runs for point in run.points)
    with storage_errors(f"write {path}"):
        write_csv(path, ["run", *CurvePoint._fields], rows)
