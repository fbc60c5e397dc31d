"""When a run will reach its target, as far as its evaluations tell."""

from __future__ import annotations

from collections.abc import Sequence

POINTS = 10
"""Evaluations that the trend is taken from, the newest."""

_LEAST, _LONGEST_S = 3, 30 * 86400.0


def seconds_to(target: float, points: Sequence[tuple[float, float]], now: float) -> float | None:
    """Seconds until a straight line through the newest scores (least squares) is at `target`; None where they
    are too few or do not rise, or where it takes more than a month.

    Args:
        target: the score to reach.
        points: (seconds, score) of evaluations.
        now: on the same clock.
    """
    newest = points[-POINTS:]
    if len(newest) < _LEAST:
        return None
    mean_s = sum(at for at, _ in newest) / len(newest)
    mean = sum(score for _, score in newest) / len(newest)
    spread = sum((at - mean_s) ** 2 for at, _ in newest)
    slope = sum((at - mean_s) * (score - mean) for at, score in newest) / spread if spread else 0.0
    if slope <= 0:
        return None
    left_s = mean_s + (target - mean) / slope - now
    return max(left_s, 0.0) if left_s < _LONGEST_S else None
