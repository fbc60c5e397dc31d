"""Whether training still learns what it did: three small tasks, several seeds, compared with bands.

    python -m benchmarks.regress               # `make regress`; exits 1 where a mean is outside its band
    python -m benchmarks.regress --update      # trains for the bands and writes them

Each task is trained by run.py to a number of steps, not for a time: a slow machine gets the same result.
What is compared is the mean over the seeds of a few numbers of the whole training: the return of its games,
and how much of the returns the critic explains. They tell how fast is learned, and differ less from seed to
seed than how good an agent is in the end. A band is where the mean of so many new seeds lies with a chance of
99 % if nothing changed (Student's t; from n seeds, for the mean of m others: mean +- t s sqrt(1/n + 1/m)).
The fewer seeds it is of, the wider: of three it is 3 times as wide as of six. Better than the band is outside
too: then new bands are due, with the reason. They are in benchmarks/results/regress.json; a task that has
none yet is only named. `--runs DIR` keeps the runs as DIR/TASK-SEED; one that is finished is not trained
again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from a3c.storage.records import read_json_lines
from a3c.storage.run_directory import METRICS
from benchmarks.common import RESULTS, keep, machine, table, train_on

BANDS = RESULTS / "regress.json"
SEEDS, BAND_SEEDS = (1, 2, 3), (1, 2, 3, 4, 5, 6)
T_99 = {1: 63.657, 2: 9.925, 3: 5.841, 4: 4.604, 5: 4.032, 6: 3.707, 7: 3.499, 8: 3.355, 9: 3.250}
"""Student's t, two-sided 99 %, by degrees of freedom."""


class Task(NamedTuple):
    """A small training."""

    flags: str  # of run.py
    measures: tuple[str, ...]  # columns of the run's metrics


TASKS = {
    "cartpole-a3c": Task("--preset cartpole-a3c --workers 2 --max-steps 80k", ("mean_return",)),
    "pong-150k": Task(
        "--preset pong-fast --workers 0 --max-steps 150k", ("mean_return", "explained_variance")
    ),
    "levels-dqn": Task("--preset levels-dqn --workers 0 --max-steps 100k", ("mean_return",)),
}
"""One with two workers, lock-free; two in one process, which repeat to the bit on one kind of processor."""


def train(name: str, seed: int, runs: Path) -> Path:
    """Trains one seed to its end, unless that was done before; returns its run directory."""
    run_dir = runs / f"{name}-{seed}"
    flags = ["--seed", str(seed), "--eval-every", "0", "--checkpoint-every", "1h", "--log-every", "2"]
    train_on(run_dir, [*TASKS[name].flags.split(), *flags])
    return run_dir


def measure(run_dir: Path, measures: Sequence[str]) -> dict[str, float]:
    """Means over a whole training: of the return over its games, of the others over the rows."""
    rows = [row for row in read_json_lines(run_dir / METRICS) if row["kind"] == "train"]
    before = [0, *(row["episodes"] for row in rows[:-1])]
    games = [row["episodes"] - earlier for row, earlier in zip(rows, before, strict=True)]
    found = {}
    for name in measures:
        weights = games if name == "mean_return" else [1] * len(rows)
        pairs = [(row.get(name), weight) for row, weight in zip(rows, weights, strict=True)]
        known = [(value, weight) for value, weight in pairs if value is not None]
        found[name] = sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
    return found


def band(values: Sequence[float], seeds: int) -> tuple[float, float]:
    """Where the mean of `seeds` more values lies with a chance of 99 %, given these; see the module."""
    spread = T_99[len(values) - 1] * statistics.stdev(values) * math.sqrt(1 / len(values) + 1 / seeds)
    middle = statistics.fmean(values)
    return middle - spread, middle + spread


def compare(
    found: dict[str, list[dict[str, float]]], bands: dict[str, dict[str, Any]]
) -> list[tuple[str, str, float, float, float, bool]]:
    """Task, measure, mean over the seeds, the band of so many, and whether it is inside, for each measure."""
    rows = []
    for task, seeds in found.items():
        for name, kept in bands[task]["measures"].items():
            mean = statistics.fmean(seed[name] for seed in seeds)
            low, high = band(kept["seeds"], len(seeds))
            rows.append((task, name, mean, low, high, low <= mean <= high))
    return rows


def update(found: dict[str, list[dict[str, float]]], seeds: Sequence[int]) -> None:
    """Writes the bands of these trainings; those of tasks that were not trained stay."""
    tasks = json.loads(BANDS.read_text())["tasks"] if BANDS.exists() else {}
    where = machine()
    for task, measured in found.items():
        values = {name: [one[name] for one in measured] for name in TASKS[task].measures}
        tasks[task] = {
            "flags": TASKS[task].flags,
            "seeds": list(seeds),
            "machine": where,
            "measures": {name: {"seeds": v, "band": band(v, len(SEEDS))} for name, v in values.items()},
        }
    print(f"kept in {keep('regress', {'tasks': tasks})}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="write the bands instead of comparing")
    parser.add_argument("--tasks", nargs="+", choices=sorted(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", help="[default 1 to 3; 1 to 6 with --update]")
    parser.add_argument("--runs", type=Path, help="folder to keep the run directories in")
    options = parser.parse_args()
    seeds = options.seeds or list(BAND_SEEDS if options.update else SEEDS)
    if len(set(seeds)) < len(seeds) or (options.update and len(seeds) - 1 not in T_99):
        least, most = min(T_99) + 1, max(T_99) + 1
        parser.error(f"--seeds: each only once, and with --update {least} to {most} of them")
    bands = json.loads(BANDS.read_text())["tasks"] if BANDS.exists() else {}
    tasks = options.tasks if options.update else [task for task in options.tasks if task in bands]
    for task in set(options.tasks) - set(tasks):
        print(f"{task} has no band yet: python -m benchmarks.regress --update --tasks {task}")
    with tempfile.TemporaryDirectory() as folder:
        runs = options.runs or Path(folder)
        found = {
            task: [measure(train(task, seed, runs), TASKS[task].measures) for seed in seeds] for task in tasks
        }
    if options.update:
        update(found, seeds)
        return 0
    rows = compare(found, bands)
    words = [
        [task, name, mean, low, high, "" if inside else "OUTSIDE"]
        for task, name, mean, low, high, inside in rows
    ]
    print(table([["task", "measure", "mean", "low", "high", ""], *words]))
    outside = sum(not row[-1] for row in rows)
    print(f"{outside} of {len(rows)} are outside their bands" if outside else "all are inside their bands")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
