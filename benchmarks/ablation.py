"""What lock-free updates, AMSGrad and stale gradients cost or give, on a task of seconds: CartPole-v1.

    python -m benchmarks.ablation                     # 10 to 15 minutes on two cores
    python -m benchmarks.ablation --seeds 1 2 --max-steps 50000

Every choice is trained with the same seeds and settings (preset cartpole-a3c) but for what its name says:

- updates without a lock, as in Hogwild, or one worker at a time (`--locked-updates`);
- the AMSGrad or the Adam form of the same optimizer;
- 1, 2, 4 and 8 workers: how many updates of others come between a worker's pull and its push, the lag;
- 8 workers that take turns on the cores there are, and 8 at once that learn with fresh weights (`--fresh on`;
  the other rows at once learn with the weights that acted).

For each, over the seeds, median and range of: the mean return of the training games (the area under the
learning curve), the mean score of the last weights in 100 games with fixed seeds and sampled actions, steps
per second and the mean lag. The choices take turns, seed by seed, so that a change of the machine's speed
hits all alike. Writes benchmarks/results/ablation.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from a3c.storage.shelf import entries
from benchmarks.common import ROOT, keep, machine, spread, table
from benchmarks.learning import FIRST_SEED, score

BASE = ["--preset", "cartpole-a3c", "--eval-every", "0", "--checkpoint-every", "1h", "--log-every", "0.2"]

AT_ONCE = ["--active-workers", "0", "--fresh", "off"]
"""All at once, as on a machine with so many cores, and learning with the weights that acted."""

CHOICES = {
    "1 worker": ["--workers", "1"],
    "2 workers": ["--workers", "2"],
    "8 workers, in turns": ["--workers", "8"],
    "8 workers": ["--workers", "8", *AT_ONCE],
    "8 workers, fresh": ["--workers", "8", *AT_ONCE, "--fresh", "on"],
    "4 workers": ["--workers", "4", *AT_ONCE],
    "4 workers, locked": ["--workers", "4", *AT_ONCE, "--locked-updates"],
    "4 workers, Adam": ["--workers", "4", *AT_ONCE, "--no-amsgrad"],
    "4 workers, locked, Adam": ["--workers", "4", *AT_ONCE, "--locked-updates", "--no-amsgrad"],
}

MEASURED = ("training", "score", "steps_per_second", "mean_lag")
GAMES = 100


def train(flags: Sequence[str], seed: int, max_steps: int) -> dict[str, float]:
    """One training, and what its rows say of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "run.py"), "--run-dir", f"{folder}/run", "--seed", str(seed),
                   "--max-steps", str(max_steps), *BASE, *flags]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
        run_dir = Path(folder, "run")
        rows = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
        found = averages([row for row in rows if row["kind"] == "train"])
        return found | {"score": statistics.fmean(score(entries(run_dir)[-1].path, FIRST_SEED, GAMES))}


def averages(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of a training's rows; each counts by the steps since the one before."""
    steps = np.diff([row["env_steps"] for row in rows], prepend=0.0)

    def mean(name: str) -> float:
        values = np.array([row[name] if row[name] is not None else np.nan for row in rows], float)
        known = np.isfinite(values)
        return float(np.average(values[known], weights=steps[known]))

    names = {"training": "mean_return", "steps_per_second": "steps_per_second", "mean_lag": "mean_lag"}
    return {key: mean(name) for key, name in names.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--max-steps", type=int, default=150_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    where = machine()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CHOICES}
    for seed in options.seeds:
        for name, flags in CHOICES.items():
            found[name].append(train(flags, seed, options.max_steps))
            print(f"seed {seed}, {name}: {found[name][-1]}", flush=True)
    spreads = {
        name: {key: spread([r[key] for r in runs]) for key in MEASURED} for name, runs in found.items()
    }
    cells = [
        [name, *("{median:,.1f} ({min:,.1f} to {max:,.1f})".format(**part[key]) for key in MEASURED)]
        for name, part in spreads.items()
    ]
    print(table([["", "training", "last weights", "steps/s", "lag"], *cells]))
    result = {"machine": where, "max_steps": options.max_steps, "seeds": options.seeds, "spread": spreads,
              "runs": found}  # fmt: skip
    print(f"kept in {keep('ablation', result)}")


if __name__ == "__main__":
    main()
