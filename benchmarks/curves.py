"""Learning curves of `benchmarks.learning`'s results on the same axes.

    python -m benchmarks.curves pong.png before=A.csv after=B.csv [--x time] [--seeds 41 42] [--window 5]

Each NAME=FILE is one colour, with a line for each seed: the mean return of training games, a moving average
over `--window` points (ten seconds each, unless --log-every says otherwise).
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from evaluators.curves.drawing import colours, label_axes
from evaluators.curves.points import moving_average

AXES = {"steps": ("env_steps", 1.0, "environment steps"), "time": ("wall_s", 60.0, "minutes")}


def read(path: Path, column: str) -> dict[int, np.ndarray]:
    """[n, 2] places on the axis and returns, by seed; points before the first game ended are left out."""
    points: dict[int, list[tuple[float, float]]] = defaultdict(list)
    with path.open() as file:
        for row in csv.DictReader(file):
            if row["mean_return"]:
                points[int(row["seed"])].append((float(row[column]), float(row["mean_return"])))
    return {seed: np.array(rows) for seed, rows in points.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("curves", metavar="NAME=FILE", nargs="+")
    parser.add_argument("--x", choices=AXES, default="steps")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these")
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    column, scale, label = AXES[options.x]
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.add_subplot()
    for colour, curve in zip(colours(len(options.curves)), options.curves, strict=True):
        name, _, file = curve.partition("=")
        drawn = {
            seed: points
            for seed, points in read(Path(file), column).items()
            if not options.seeds or seed in options.seeds
        }
        for points in drawn.values():
            smooth = moving_average(points[:, 1], np.ones(len(points)), options.window)
            axes.plot(points[:, 0] / scale, smooth, color=colour, linewidth=2)
        axes.plot([], [], color=colour, label=f"{name}: {', '.join(map(str, drawn))}")
    label_axes(axes, options.title, label, "return of training games", options.x == "time")
    axes.legend(fontsize=15, title="seeds", title_fontsize=15)
    figure.savefig(options.out, dpi=120)


if __name__ == "__main__":
    main()
