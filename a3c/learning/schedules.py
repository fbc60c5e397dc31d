"""Values that change with the global step count."""

from __future__ import annotations


def linear(start: float, end: float, steps: float, at: float) -> float:
    """`start` at 0, `end` from `steps` on, a straight line between."""
    if steps <= 0:
        return end
    return start + (end - start) * min(max(at / steps, 0.0), 1.0)


def learning_rate(lr: float, schedule: str, max_steps: int, env_steps: int) -> float:
    """The rate after `env_steps`: constant, or linear to 0 at `max_steps` (Mnih et al. 2016, sec. 8)."""
    return linear(lr, 0.0, max_steps, env_steps) if schedule == "linear" else lr
