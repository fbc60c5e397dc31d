"""Learning curves as a picture that can be read at half its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from a3c.settings.values import shown
from a3c.storage.atomic import storage_errors
from evaluators.curves.points import EVALUATION, TRAIN, Curves, band, moving_average
from evaluators.curves.references import Reference

_COLOURS = ("#1f6fb4", "#d95f02", "#1b9e77", "#7b3fa0", "#c2185b", "#6d4c41", "#00838f", "#827717")
_SIZE, _DPI = (10, 6), 120
_TITLE, _LABEL, _TICK, _SMALL = 20, 18, 16, 15  # points; half of them is still legible
_LABELS = {"steps": "environment steps", "frames": "emulator frames", "episodes": "episodes of training"}
_FEW = 30  # points
_HALF_LINE = 36  # letters
_REACH = 1.0  # a reference is drawn within this many heights of the curves, else only named


def draw(
    runs: Sequence[Curves],
    axis: str,
    references: Mapping[str, Sequence[Reference]],
    window: int,
    path: Path,
) -> None:
    """Writes the picture: a panel for each environment, as their scores have no common scale. Raises
    StorageError.

    Args:
        runs: what to draw.
        axis: "steps", "frames", "episodes" or "time".
        references: scores to draw as lines, by environment.
        window: points in the moving average of training.
        path: .png, .svg or .pdf.
    """
    panels: dict[str, list[Curves]] = {}
    for run in runs:
        panels.setdefault(run.config.env.env, []).append(run)
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(_SIZE[0] * columns, _SIZE[1] * rows), layout="constrained")
    for place, (env, there) in enumerate(sorted(panels.items()), 1):
        part = figure.add_subfigure(figure.add_gridspec(rows, columns)[place - 1])
        _draw_panel(part, env, there, axis, references.get(env, ()), window)
    with storage_errors(f"write {path}"):
        figure.savefig(path, dpi=_DPI)


def _draw_panel(
    figure: SubFigure, env: str, runs: list[Curves], axis: str, references: Sequence[Reference], window: int
) -> None:
    axes = figure.add_subplot()
    scale, words = _time_unit(runs) if axis == "time" else (1.0, _LABELS[axis])
    groups = _groups(runs)
    if len(groups) == 1 and 1 < len(runs) <= len(_COLOURS):
        _draw_seeds(axes, runs, axis, scale, window)
    else:
        for colour, (label, group) in zip(colours(len(groups)), groups, strict=True):
            _draw_group(axes, group, label, colour, axis, scale, window)
    label_axes(axes, shown(env), words, "score", axis == "time")
    far = _draw_references(axes, references)
    lines, labels = axes.get_legend_handles_labels()
    legend = figure.legend(  # below the axes, where it covers nothing
        lines, labels, loc="outside lower center", ncols=2 if max(map(len, labels)) <= _HALF_LINE else 1,
        fontsize=_SMALL, frameon=False, title=far or None, title_fontsize=_SMALL - 2,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a folder's name may have dollars


def _draw_seeds(axes: Axes, runs: list[Curves], axis: str, scale: float, window: int) -> None:
    """Runs of one setting, each in a colour of its own, and their mean."""
    seeds = [f"seed {run.config.run.seed}" for run in runs]
    names = seeds if len(set(seeds)) == len(runs) else [run.path.name for run in runs]
    evaluated = all(len(run.xy(EVALUATION, axis)[0]) for run in runs)
    for colour, name, run in zip(_COLOURS, names, runs, strict=False):
        x, y = _smooth(run, axis, scale, window)
        axes.plot(
            x, y, color=colour, alpha=0.6, linewidth=1.5, marker=_marker(x),
            label=None if evaluated else f"{name}: training",
        )  # fmt: skip
        if evaluated:
            x, y = run.xy(EVALUATION, axis)
            label = f"{name}: evaluation"
            axes.plot(x / scale, y[:, 0], color=colour, linewidth=2.5, marker=_marker(x), label=label)
    if evaluated:
        axes.plot([], [], color="0.5", alpha=0.6, linewidth=1.5, label="the same colours, thin: training")
        series = [(x / scale, y[:, 0]) for x, y in (run.xy(EVALUATION, axis) for run in runs)]
    else:
        series = [_smooth(run, axis, scale, window) for run in runs]
    if (several := band(series)) is not None:
        label = f"mean of the {len(runs)} seeds"
        axes.plot(several.x, several.mean, color="black", linestyle="--", linewidth=2, label=label)


def _smooth(run: Curves, axis: str, scale: float, window: int) -> tuple[np.ndarray, np.ndarray]:
    """[n] places and [n] scores of training, averaged over the last `window` points."""
    x, y = run.xy(TRAIN, axis)
    return x / scale, moving_average(y[:, 0], y[:, 3], window)


def _marker(x: np.ndarray) -> str:
    """Points are shown as such where there are few: a line alone does not say how much it stands on."""
    return "o" if len(x) <= _FEW else ""


def label_axes(axes: Axes, title: str, x: str, y: str, time: bool) -> None:
    """Words, ticks and grid; places on an axis of time are plain numbers, others end in k or M."""
    axes.set_title(title, fontsize=_TITLE, parse_math=False)
    axes.set_xlabel(x, fontsize=_LABEL)
    axes.set_ylabel(y, fontsize=_LABEL)
    axes.tick_params(labelsize=_TICK)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(_short) if time else EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.margins(x=0.02)


def colours(number: int) -> list[str]:
    """As many colours, the first ones again where they are used up."""
    return [_COLOURS[i % len(_COLOURS)] for i in range(number)]


def _groups(runs: Sequence[Curves]) -> list[tuple[str, list[Curves]]]:
    """Runs of one setting together, under the shortest distinct names."""
    groups: dict[str, list[Curves]] = {}
    for run in runs:
        groups.setdefault(run.setting(), []).append(run)
    algos = [group[0].config.learn.algo for group in groups.values()]
    labels = algos if len(set(algos)) == len(algos) else [group[0].path.name for group in groups.values()]
    return list(zip(labels, groups.values(), strict=True))


def _draw_group(
    axes: Axes, runs: list[Curves], label: str, colour: str, axis: str, scale: float, window: int
) -> None:
    name = f"{label}, {len(runs)} seeds" if len(runs) > 1 else label
    if len(runs) == 1:
        x, y = runs[0].xy(TRAIN, axis)
        if len(x) > 2 * window > 2:
            axes.plot(x / scale, y[:, 0], color=colour, alpha=0.35, linewidth=1)
    if (training := band([_smooth(run, axis, scale, window) for run in runs])) is not None:
        words = f"{name}: training" + ", lowest to highest" * (len(runs) > 1)
        axes.plot(
            training.x, training.mean, color=colour, alpha=0.75, linewidth=2, label=words,
            marker=_marker(training.x), markersize=4,
        )  # fmt: skip
        if len(runs) > 1:
            axes.fill_between(training.x, training.low, training.high, color=colour, alpha=0.2, linewidth=0)
    _draw_evaluations(axes, runs, name, colour, axis, scale)


def _draw_evaluations(
    axes: Axes, runs: list[Curves], name: str, colour: str, axis: str, scale: float
) -> None:
    """Points with bars from the lowest to the highest: of one run's games, or of several runs' means."""
    series = [run.xy(EVALUATION, axis) for run in runs]
    if len(runs) == 1:
        x, y = series[0]
        mean, low, high = y[:, 0], y[:, 1], y[:, 2]
    else:
        several = band([(x, y[:, 0]) for x, y in series])
        if several is None:
            return
        x, mean, low, high = several
    if len(x):
        marker = "o" if len(x) <= 60 else "."
        shown_bars = informative(low, high)
        words = f"{name}: evaluation{', lowest to highest' * shown_bars}"
        bars = (np.maximum(mean - low, 0), np.maximum(high - mean, 0)) if shown_bars else None
        axes.errorbar(
            x / scale, mean, bars, color=colour, fmt=marker,
            linestyle="-", linewidth=2.5, markersize=6, elinewidth=1.2, capsize=3, ecolor=colour, label=words,
        )  # fmt: skip


def informative(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether bars say anything: not where games are won or lost, and all reach from the one to the other."""
    usual = np.median(low), np.median(high)
    alike = np.mean((low == usual[0]) & (high == usual[1]))
    return bool(len(low) < 3 or alike < 0.8)


def _draw_references(axes: Axes, references: Sequence[Reference]) -> str:
    """Lines where they do not squeeze the curves; the others in words."""
    low, high = axes.get_ylim()
    reach = (high - low) * _REACH
    near = sorted((m for m in references if low - reach <= m.score <= high + reach), key=lambda m: m.score)
    for mark in near:
        axes.axhline(mark.score, color="0.35", linestyle="--", linewidth=1.5)
    low, high = axes.get_ylim()
    lowest = low
    for mark in near:  # names stand beside the picture, one above the other where lines lie close together
        place = max(mark.score, lowest)
        name = f" {mark.name}\n {mark.score:.4g}"
        axes.text(
            1.0, place, name, transform=axes.get_yaxis_transform(), va="center", fontsize=_SMALL - 1,
            color="0.25",
        )  # fmt: skip
        lowest = place + 0.11 * (high - low)
    far = [mark for mark in references if mark not in near]
    return "beyond: " + ", ".join(f"{mark.name} {mark.score:.5g}" for mark in far) if far else ""


def _time_unit(runs: Sequence[Curves]) -> tuple[float, str]:
    longest = max(point.wall_s for run in runs for point in run.points)
    for seconds, name in ((86400.0 * 2, "days"), (3600.0 * 2, "hours"), (60.0 * 2, "minutes")):
        if longest >= seconds:
            return seconds / 2, f"time of training ({name})"
    return 1.0, "time of training (seconds)"


def _short(value: float, position: int | None = None) -> str:
    return f"{value:g}"
