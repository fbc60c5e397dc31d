"""What a list of scores says, and how sure it is.

Statistics as recommended by Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical
Precipice" (NeurIPS 2021): the interquartile mean beside the mean, and percentile bootstrap intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""Maps scores [..., n] to one number for each leading index [...]."""


class Interval(NamedTuple):
    """Bounds of a confidence interval."""

    low: float
    high: float


class Summary(NamedTuple):
    """Statistics of n scores."""

    n: int
    mean: float
    std: float  # of the sample, divided by n - 1; 0 for a single score
    median: float
    min: float
    max: float
    iqm: float
    mean_interval: Interval  # 95 %
    iqm_interval: Interval  # 95 %


def mean(scores: np.ndarray) -> np.ndarray:
    """Arithmetic mean over the last axis."""
    return np.asarray(scores.mean(-1))


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean over the last axis: floor(n / 4) scores are cut off at each end.

    The 25 % trimmed mean of Agarwal et al. 2021; equal to scipy.stats.trim_mean(scores, 0.25).
    """
    cut = scores.shape[-1] // 4
    ordered = np.sort(scores, -1)
    return np.asarray(ordered[..., cut : scores.shape[-1] - cut].mean(-1))


def optimality_gap(scores: np.ndarray) -> np.ndarray:
    """How far the scores [..., n] fall short of 1 on average, those above 1 counted as 1: of human-normalised
    scores, what is missing to human play (Agarwal et al. 2021)."""
    return np.asarray((1 - np.minimum(scores, 1)).mean(-1))


def median(scores: np.ndarray) -> np.ndarray:
    """Median over the last axis."""
    return np.asarray(np.median(scores, -1))


class Aggregate(NamedTuple):
    """A statistic over several games, and how sure it is."""

    value: float
    interval: Interval | None  # 95 %; None where no game has two runs, whose drawing anew would differ


def aggregates(
    games: Sequence[Sequence[float]], resamples: int = 2000, seed: int = 0
) -> dict[str, Aggregate]:
    """What scores of several runs in each of several games say together (Agarwal et al. 2021, sec. 4): "IQM"
    and "optimality gap" over all runs, "median" and "mean" over the games' means, with intervals of the
    stratified bootstrap.

    Args:
        games: for each game, the scores of its runs (one seed each) on a common scale. A game with more runs
            weighs more in what is over all runs.
        resamples: how often each game's runs are drawn anew.
        seed: of the drawing.

    Raises:
        ValueError: no game, or one without runs.
    """
    runs = [np.asarray(scores, np.float64) for scores in games]
    if not runs or not all(map(len, runs)):
        raise ValueError("no scores to aggregate")
    several = any(len(scores) > 1 for scores in runs)
    rng = np.random.default_rng(seed)
    drawn = [scores[rng.integers(len(scores), size=(resamples, len(scores)))] for scores in runs]
    found = {}
    for name, statistic, over_runs in (
        ("IQM", iqm, True),
        ("median", median, False),
        ("mean", mean, False),
        ("optimality gap", optimality_gap, True),
    ):
        value, spread = (
            statistic(np.concatenate(of, -1) if over_runs else np.stack([part.mean(-1) for part in of], -1))
            for of in (runs, drawn)
        )
        low, high = np.quantile(spread, (0.025, 0.975))
        found[name] = Aggregate(float(value), Interval(float(low), float(high)) if several else None)
    return found


def bootstrap(
    scores: Sequence[float],
    statistic: Statistic,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic (Efron 1979): the quantiles (1 -+ confidence) / 2 of
    the statistic over `resamples` draws of n scores with replacement. The same seed gives the same bounds."""
    values = np.asarray(scores, np.float64)
    draws = np.random.default_rng(seed).choice(values, (resamples, len(values)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(statistic(draws), (tail, 1 - tail))
    return Interval(float(low), float(high))


def summarise(scores: Sequence[float]) -> Summary:
    """All statistics of at least one score. Raises ValueError for none."""
    if not len(scores):
        raise ValueError("no scores to summarise")
    values = np.asarray(scores, np.float64)
    return Summary(
        n=len(values),
        mean=float(mean(values)),
        std=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        median=float(np.median(values)),
        min=float(values.min()),
        max=float(values.max()),
        iqm=float(iqm(values)),
        mean_interval=bootstrap(scores, mean),
        iqm_interval=bootstrap(scores, iqm),
    )
