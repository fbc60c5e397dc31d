"""What a worker more is worth: learning by the step, for several choices of flags on the same seeds.

    python -m benchmarks.workers --name breakout-epochs --steps 450k --choices \
        "2 workers=--workers 2" "16 workers=--workers 16" -- --preset breakout-fast

Each NAME=FLAGS is trained with every seed, in turns, so that a change of the machine's speed hits all alike,
and stopped once it has made `--steps` steps. Said of each, over the seeds: what the weights of the
checkpoints nearest to a half of the steps and to all of them score in `--games` whole games; the mean return
of the training games that ended in the tenth before a quarter, a half, three quarters and all of the steps;
steps per second and the mean lag. Steps can be compared on any number of cores: 16 workers on 2 cores lag as
far as 16 workers on 16.

Believe the scores. A training's games return less the more environments play: each makes fewer of the steps,
so that the games that end were begun, by worse weights, more steps ago.

Writes workers-NAME.json and one curve for each choice, workers-NAME-CHOICE.csv, to benchmarks/results/; draw
them with benchmarks.curves. A choice that is there already is kept, and only new ones are trained.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from a3c.settings.values import parse_count
from a3c.storage.shelf import entries
from benchmarks.common import RESULTS, ROOT, keep, machine, spread, table
from benchmarks.learning import FIRST_SEED, metrics, score

PARTS = (0.25, 0.5, 0.75, 1.0)
WIDTH = 0.1
"""Of the steps, how much before a part the games count that are its return."""
SCORED = (0.5, 1.0)
"""Parts of the steps at which the weights are scored."""


class Trained(NamedTuple):
    """One training, over."""

    rows: list[dict[str, Any]]  # of its metrics
    scores: dict[float, list[float]]  # by part of the steps: of whole games
    scored_at: dict[float, int]  # the steps of the checkpoint that played them


def train(flags: Sequence[str], seed: int, steps: int, games: int) -> Trained:
    """Trains for so many steps, then plays so many games with the weights of each part in `SCORED`."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        command = [sys.executable, str(ROOT / "run.py"), "--run-dir", str(run_dir), "--seed", str(seed),
                   "--eval-every", "0", "--checkpoint-every", "10s", "--keep-checkpoints", "1000",
                   "--log-every", "2", *flags]  # fmt: skip
        with Path(folder, "output.txt").open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
        rows: list[dict[str, Any]] = []
        while process.poll() is None and (not rows or rows[-1]["env_steps"] < steps):
            time.sleep(1)
            rows = [row for row in metrics(run_dir) if row["kind"] == "train"]
        process.terminate()
        if process.wait():
            print(Path(folder, "output.txt").read_text(), file=sys.stderr)
            raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
        nearest = {p: min(entries(run_dir), key=lambda e: abs(e.step - p * steps)) for p in SCORED}
        scores = {part: score(entry.path, FIRST_SEED, games) for part, entry in nearest.items()}
        return Trained(rows, scores, {part: entry.step for part, entry in nearest.items()})


def around(rows: Sequence[dict[str, Any]], steps: int, part: float) -> float:
    """Mean return of the games that ended shortly before a part of the steps; NaN where none did."""
    games = [
        (row["mean_return"], row["episodes"] - before["episodes"])
        for before, row in itertools.pairwise(rows)
        if (part - WIDTH) * steps < row["env_steps"] <= part * steps and row["mean_return"] is not None
    ]
    counts = [count for _, count in games]
    return float(np.average([score for score, _ in games], weights=counts)) if sum(counts) else float("nan")


def describe(trained: Trained, steps: int) -> dict[str, float]:
    """One training in numbers."""
    rows = trained.rows
    lags = [row["mean_lag"] for row in rows if row.get("mean_lag") is not None]
    last = rows[-1]
    return {
        **{f"score_at_{part:g}": float(np.mean(scores)) for part, scores in trained.scores.items()},
        **{f"deviation_at_{part:g}": float(np.std(scores)) for part, scores in trained.scores.items()},
        **{f"scored_at_{part:g}": step for part, step in trained.scored_at.items()},
        **{f"return_at_{part:g}": around(rows, steps, part) for part in PARTS},
        "steps_per_second": last["env_steps"] / last["wall_s"],
        "mean_lag": float(np.mean(lags)) if lags else 0.0,
    }


def write_curves(name: str, curves: dict[str, dict[int, list[dict[str, Any]]]]) -> None:
    """A file for each choice, as benchmarks.curves reads it."""
    for choice, runs in curves.items():
        word = re.sub(r"[^a-z0-9]+", "-", choice.lower()).strip("-")
        with (RESULTS / f"workers-{name}-{word}.csv").open("w") as file:
            writer = csv.writer(file)
            writer.writerow(["seed", "env_steps", "wall_s", "mean_return"])
            for seed, rows in runs.items():
                writer.writerows(
                    [seed, row["env_steps"], f"{row['wall_s']:.1f}", row["mean_return"]] for row in rows
                )


def report(name: str, steps: int, found: dict[str, list[dict[str, float]]], where: dict[str, Any]) -> None:
    """Writes the numbers and prints a row for each choice: median, least and greatest over the seeds."""
    keys = [f"score_at_{part:g}" for part in SCORED] + [f"return_at_{part:g}" for part in PARTS]
    keys += ["steps_per_second", "mean_lag"]
    spreads = {
        choice: {key: spread([run[key] for run in runs]) for key in keys} for choice, runs in found.items()
    }
    cells = [
        [choice, *("{median:,.1f} ({min:,.1f} to {max:,.1f})".format(**part[key]) for key in keys)]
        for choice, part in spreads.items()
    ]
    heads = [f"score at {part * steps:,.0f}" for part in SCORED]
    heads += [*(f"return at {part * steps:,.0f}" for part in PARTS), "steps/s", "lag"]
    print(table([["", *heads], *cells]), flush=True)
    keep(f"workers-{name}", {"machine": where, "steps": steps, "spread": spreads, "runs": found})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", required=True)
    parser.add_argument("--steps", type=parse_count, default=450_000)
    parser.add_argument("--games", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--choices", metavar="NAME=FLAGS", nargs="+", required=True)
    own, common = sys.argv[1:], list[str]()
    if "--" in own:
        own, common = own[: own.index("--")], own[own.index("--") + 1 :]
    options = parser.parse_args(own)
    where = machine()
    choices = {name: flags.split() for name, _, flags in (c.partition("=") for c in options.choices)}
    found: dict[str, list[dict[str, float]]] = {}
    curves: dict[str, dict[int, list[dict[str, Any]]]] = {}
    kept = RESULTS / f"workers-{options.name}.json"
    if kept.exists():
        found = json.loads(kept.read_text())["runs"]
    new = [name for name in choices if name not in found]
    for seed in options.seeds:
        for name in new:
            trained = train([*common, *choices[name]], seed, options.steps, options.games)
            curves.setdefault(name, {})[seed] = trained.rows
            found.setdefault(name, []).append({"seed": seed, **describe(trained, options.steps)})
            print(f"seed {seed}, {name}: {found[name][-1]}", flush=True)
            write_curves(options.name, curves)
            report(options.name, options.steps, found, where)


if __name__ == "__main__":
    main()
