"""A study as a picture: the trials one after another, and the score against each setting."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from a3c.storage.atomic import replace_file, storage_errors

_LABEL, _TICK = 16, 13  # points
_COLUMNS = 3
_DOT, _BEST = "#1f6fb4", "#d95f02"


class TrialPoint(NamedTuple):
    """One trial; value None where it gave no score."""

    number: int
    value: float | None
    parameters: dict[str, Any]


def draw_study(trials: Sequence[TrialPoint], logarithmic: Sequence[str], path: Path) -> None:
    """Writes the picture. Raises StorageError.

    Args:
        trials: at least one with a value.
        logarithmic: settings that are drawn on a logarithmic axis.
        path: .png, .svg or .pdf.
    """
    scored = [t for t in trials if t.value is not None]
    names = sorted({name for t in scored for name in t.parameters})
    columns = min(1 + len(names), _COLUMNS)
    rows = -(-(1 + len(names)) // columns)
    figure = Figure(figsize=(5 * columns, 4.5 * rows), layout="constrained")
    places = figure.subplots(rows, columns, sharey=True, squeeze=False)
    first, *rest = places.flat
    for axes in rest[len(names) :]:
        axes.remove()
    for axes in places[1:, 0]:
        axes.set_ylabel("score", fontsize=_LABEL)
    values = np.array([t.value for t in scored], float)
    _scatter(first, [t.number for t in scored], values, "trial")
    first.step(
        [t.number for t in scored], np.maximum.accumulate(values), where="post", color=_BEST, label="best"
    )
    first.xaxis.set_major_locator(MaxNLocator(integer=True))
    first.set_ylabel("score", fontsize=_LABEL)
    first.legend(fontsize=_TICK)
    for axes, name in zip(rest, names, strict=False):
        _scatter(axes, [t.parameters[name] for t in scored], values, name)
        if name in logarithmic:
            axes.set_xscale("log")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format=path.suffix[1:])
    with storage_errors(f"write {path}"):
        replace_file(path, picture.getvalue(), durable=False)


def _scatter(axes: Axes, x: Sequence[Any], values: np.ndarray, label: str) -> None:
    axes.scatter(x, values, s=50, color=_DOT, zorder=3)
    best = int(values.argmax())
    axes.scatter(
        [x[best]], [values[best]], s=160, facecolors="none", edgecolors=_BEST, linewidths=2.5, zorder=4
    )
    axes.set_xlabel(label, fontsize=_LABEL)
    axes.tick_params(labelsize=_TICK)
    axes.grid(alpha=0.3)
