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
from matplotlib.ticker import EngFormatter

from evaluators.curves import moving_average

COLOURS = ("#1f6fb4", "#d95f02", "#1b9e77", "#7b3fa0")
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
    for colour, (name, _, file) in zip(COLOURS, (c.partition("=") for c in options.curves), strict=False):
        drawn = {
            seed: points
            for seed, points in read(Path(file), column).items()
            if not options.seeds or seed in options.seeds
        }
        for points in drawn.values():
            smooth = moving_average(points[:, 1], np.ones(len(points)), options.window)
            axes.plot(points[:, 0] / scale, smooth, color=colour, linewidth=2)
        axes.plot([], [], color=colour, label=f"{name}: {', '.join(map(str, drawn))}")
    axes.set_title(options.title, fontsize=20)
    axes.set_xlabel(label, fontsize=18)
    axes.set_ylabel("return of training games", fontsize=18)
    axes.tick_params(labelsize=16)
    if options.x == "steps":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=15, title="seeds", title_fontsize=15)
    figure.savefig(options.out, dpi=120)


if __name__ == "__main__":
    main()
