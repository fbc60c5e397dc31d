"""What status.json says: each field of its own kind, or None. Anybody may have written the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from a3c.errors import printable

_NUMBERS = (
    "pid", "steps", "frames", "updates", "episodes", "rejected", "steps_per_second", "frames_per_second",
    "mean_lag", "last_return", "max_steps", "progress", "eta_s", "elapsed_s", "best_score",
    "best_score_steps", "memory_bytes", "id", "restarts", "last_score", "last_score_steps",
    "games", "games_over", "target_score", "target_eta_s", "utilization_percent", "memory_total_bytes",
)  # fmt: skip
_TEXTS = (
    "run_id", "state", "host", "started", "updated", "run_dir", "env", "algo", "preset", "checkpoint",
    "tensorboard", "message", "phase", "device",
)  # fmt: skip
_LARGEST = 1e18
_MOST_WORKERS, _LONGEST_TEXT = 10_000, 10_000


def typed_status(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields; of known ones, what is of another kind is None, and text is printable."""
    return {name: _KINDS.get(name, _as_it_is)(value) for name, value in found.items()}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if abs(value) < _LARGEST and math.isfinite(value) else None


def _text(value: Any) -> str | None:
    return printable(value[:_LONGEST_TEXT], lines=True) if isinstance(value, str) else None


def _process(value: Any) -> dict[str, Any] | None:
    return typed_status(value) if isinstance(value, dict) else None


def _processes(value: Any) -> list[dict[str, Any]]:
    items = value[:_MOST_WORKERS] if isinstance(value, list) else []
    return [process for item in items if (process := _process(item)) is not None]


def _as_it_is(value: Any) -> Any:
    return value


_KINDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_NUMBERS, _number),
    **dict.fromkeys(_TEXTS, _text),
    "evaluator": _process,
    "exchanger": _process,
    "workers": _processes,
    "nodes": _processes,
    "gpus": _processes,
}
